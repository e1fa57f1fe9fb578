//! The table that `bench/run` ends with: medians side by side, their ratio, and the goal.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sample::median;

/// A row: the measure, its figure, how people call it, and what is aimed at.
struct Row {
    measure: &'static str,
    figure: &'static str,
    title: &'static str,
    goal: Goal,
}

/// What ours is to be.
enum Goal {
    /// At most this, in the figure's own unit.
    AtMost(f64),
    /// At least so many times the real one's.
    Times(f64),
    /// At most one such part of the real one's.
    Part(f64),
    /// Shown, and nothing aimed at.
    None,
}

const ROWS: &[Row] = &[
    row("start-empty", "first_write_ms", "start, empty directory: first write, ms", Goal::AtMost(100.0)),
    row("start-full", "first_write_ms", "start, full directory: first write, ms", Goal::AtMost(100.0)),
    row("start-full", "ready_ms", "start, full directory: ready, ms", Goal::None),
    row("idle", "rss_mb", "whole cluster idle: resident, MB", Goal::AtMost(40.0)),
    row("idle", "cpu_percent", "whole cluster idle: processor, %", Goal::None),
    row("create-1", "per_second", "creates/s, 1 client", Goal::None),
    row("create-1", "p99_ms", "  p99, ms", Goal::None),
    row("create-16", "per_second", "creates/s, 16 clients", Goal::None),
    row("create-16", "p99_ms", "  p99, ms", Goal::None),
    row("create-200", "per_second", "creates/s, 200 clients", Goal::Times(6.0)),
    row("create-200", "p50_ms", "  p50, ms", Goal::None),
    row("create-200", "p99_ms", "  p99, ms", Goal::Part(10.0)),
    row("get", "per_cpu_second", "GETs of a pod per server CPU-second", Goal::Times(30.0)),
    row("get", "per_second", "  per second", Goal::None),
    row("get-protobuf", "per_cpu_second", "  in protobuf", Goal::Times(30.0)),
    row("get-http1", "per_cpu_second", "  over HTTP/1.1", Goal::Times(30.0)),
    row("get-http1-protobuf", "per_cpu_second", "  over HTTP/1.1, in protobuf", Goal::Times(30.0)),
    row("list-json", "cpu_ms", "LIST of the pods in JSON: server CPU, ms", Goal::Part(15.0)),
    row("list-json", "wall_ms", "  wall, ms", Goal::Part(5.0)),
    row("list-protobuf", "cpu_ms", "LIST in protobuf: server CPU, ms", Goal::Part(15.0)),
    row("list-protobuf", "wall_ms", "  wall, ms", Goal::Part(5.0)),
    row("list-table", "cpu_ms", "LIST as a table: server CPU, ms", Goal::Part(15.0)),
    row("list-table", "wall_ms", "  wall, ms", Goal::Part(5.0)),
    row("list-metadata", "cpu_ms", "LIST of the metadata: server CPU, ms", Goal::Part(15.0)),
    row("list-metadata", "wall_ms", "  wall, ms", Goal::Part(5.0)),
    row("list-label", "cpu_ms", "LIST by label in JSON: server CPU, ms", Goal::Part(15.0)),
    row("list-label", "wall_ms", "  wall, ms", Goal::Part(5.0)),
    row("watch", "per_cpu_second", "events, 1,000 watchers, per server CPU-second", Goal::Times(6.0)),
    row("watch", "of_all", "  arrived, of all", Goal::None),
    row("watch-protobuf", "per_cpu_second", "  in protobuf", Goal::Times(6.0)),
    row("idle-watches", "kib_per_watch", "idle watch: resident, KiB", Goal::AtMost(4.0)),
    row("idle-watches", "kib_per_connection", "  connection, KiB", Goal::None),
    row("apply", "per_cpu_second", "applies of a Deployment per server CPU-second", Goal::Times(4.0)),
    row("apply", "per_second", "  per second, 16 clients", Goal::None),
    row("leases", "per_second", "Lease updates/s, 10,000 nodes", Goal::Times(6.0)),
    row("leases", "per_cpu_second", "  per server CPU-second", Goal::Times(6.0)),
    row("leases", "p99_ms", "  p99, ms", Goal::None),
    row("crds", "kb_each", "one more CRD: resident, KB", Goal::AtMost(200.0)),
    row("memory", "per_byte", "stored objects: resident per byte of JSON", Goal::AtMost(1.5)),
    row("memory", "grown_mb", "  in all, MB", Goal::None),
    row("schedule-basic", "per_second", "1,000 pods on 5,000 nodes, pods/s: basic", Goal::Times(8.0)),
    row("schedule-zone-affinity", "per_second", "  affinity to a zone", Goal::Times(30.0)),
    row("schedule-host-anti-affinity", "per_second", "  anti-affinity between hosts", Goal::Times(10.0)),
    row("schedule-zone-spread", "per_second", "  spread over zones", Goal::Times(10.0)),
    row("nodes", "nodes_s", "5,000 nodes ready, s", Goal::Part(20.0)),
    row("nodes", "nodes_cpu_s", "  processor, s", Goal::None),
    row("nodes", "pods_s", "10,000 pods running on them, s", Goal::Part(20.0)),
    row("nodes", "pods_cpu_s", "  processor, s", Goal::None),
    row("nodes", "rss_mb", "  resident, MB", Goal::Part(8.0)),
    row("nodes", "idle_percent", "  processor at rest, % of a core", Goal::Part(10.0)),
    row("nodes", "pod_requests", "  requests for pods, a pod", Goal::Part(1.0)),
    row("nodes", "all_requests", "  all requests, a pod", Goal::None),
    row("rollout", "create_s", "Deployment of 1,000: available, s", Goal::Part(5.0)),
    row("rollout", "update_s", "  replaced, s", Goal::Part(5.0)),
    row("rollout", "delete_s", "  deleted, s", Goal::Part(5.0)),
    row("rollout", "pod_requests", "  requests for pods, a pod", Goal::Part(1.0)),
    row("rollout", "all_requests", "  all requests, a pod", Goal::None),
    row("namespace", "delete_s", "namespace of 20,000 objects gone, s", Goal::Part(5.0)),
    row("garbage", "collect_s", "10,000 owned objects gone, s", Goal::Part(5.0)),
];

const fn row(measure: &'static str, figure: &'static str, title: &'static str, goal: Goal) -> Row {
    Row { measure, figure, title, goal }
}

/// The table of `results`, whose lines are `ours|real MEASURE JSON`; other lines are left out.
pub fn table(results: &str) -> String {
    let mut figures: BTreeMap<(&str, &str, String), Vec<f64>> = BTreeMap::new();
    for line in results.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(who), Some(measure), Some(json)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else { continue };
        for (figure, value) in fields {
            figures.entry((who, measure, figure)).or_default().extend(value.as_f64());
        }
    }
    let mut table = format!("{:<46} {:>12} {:>12} {:>8}  goal\n", "median", "ours", "real", "ratio");
    for row in ROWS {
        let of = |who| median(figures.get(&(who, row.measure, row.figure.to_owned()))?);
        let (ours, real) = (of("ours"), of("real"));
        if ours.is_none() && real.is_none() {
            continue;
        }
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let ratio = ours.zip(real).map(|(ours, real)| ours / real);
        let ratio_shown = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        table.push_str(&format!(
            "{:<46} {:>12} {:>12} {:>8}  {}\n",
            row.title,
            shown(ours),
            shown(real),
            ratio_shown,
            row.goal.verdict(ours, ratio)
        ));
    }
    table
}

impl Goal {
    fn verdict(&self, ours: Option<f64>, ratio: Option<f64>) -> String {
        let (text, met) = match *self {
            Self::AtMost(limit) => (format!("<= {limit}"), ours.map(|ours| ours <= limit)),
            Self::Times(times) => (format!(">= {times}x"), ratio.map(|ratio| ratio >= times)),
            Self::Part(part) => (format!("<= 1/{part}"), ratio.map(|ratio| ratio <= 1.0 / part)),
            Self::None => return String::new(),
        };
        match met {
            Some(true) => format!("{text} met"),
            Some(false) => format!("{text} MISSED"),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let check = |results: &str, expected: &[&str]| {
            let table = table(results);
            for text in expected {
                assert!(table.contains(text), "{text:?} is not in\n{table}");
            }
        };
        check(
            "ours idle {\"rss_mb\":30}\nours idle {\"rss_mb\":50}\nours idle {\"rss_mb\":35}",
            &["35.0", "<= 40 met"],
        );
        check(
            "ours create-200 {\"per_second\":500}\nreal create-200 {\"per_second\":100}\nnonsense",
            &["500.0", "100.0", "5.00", ">= 6x MISSED"],
        );
        check("ours list-json {\"cpu_ms\":1}\nreal list-json {\"cpu_ms\":20}", &["<= 1/15 met"]);
        check("", &["median"]);
    }
}
