//! What one decision costs alone: no API, no binding.
//!
//! `cargo bench -p coracle-scheduler --bench decision [NODES [PODS]]` prints microseconds a decision for each scenario:
//! upstream's shapes (its scheduler_perf), on 5,000 nodes with two pods on each.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use coracle_scheduler::{
    Objects, PodInfo, Shapes,
    cache::Cache,
    cycle::{Decision, Moment, schedule_one},
    nominations::Nominations,
    plugins::default_plugins,
};
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const SCENARIOS: [&str; 6] =
    ["basic", "zone-affinity", "host-anti-affinity", "zone-spread", "hard-to-place", "preferences"];

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let nodes = numbers.first().copied().unwrap_or(5000);
    let pods = numbers.get(1).copied().unwrap_or(1000);
    for scenario in SCENARIOS {
        let times = run(scenario, nodes, pods);
        let micros = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
        let mean = micros(Some(&times.iter().sum())) / times.len().max(1) as f64;
        let at = |percent: usize| micros(times.get(times.len().saturating_sub(1) * percent / 100));
        let line = format!(
            "{scenario:<20} mean {mean:8.1} us   p50 {:8.1}   p99 {:8.1}   first {:8.1}",
            at(50),
            at(99),
            at(100)
        );
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// How long each decision took, in order.
fn run(scenario: &str, nodes: usize, pods: usize) -> Vec<Duration> {
    let mut cache = Cache::default();
    for number in 0..nodes {
        cache.set_node(Arc::new(read(node(scenario, number, nodes))));
    }
    for number in 0..2 * nodes {
        let on = format!("node-{:05}", number % nodes);
        cache.set_pod(pod("placed", number, scenario == "hard-to-place"), &on);
    }
    let plugins = default_plugins(&Objects::default());
    let mut luck = StdRng::seed_from_u64(1);
    let mut start = 0;
    let nominations = Nominations::default();
    let shapes = Shapes::default();
    let mut times = Vec::with_capacity(pods);
    for number in 0..pods {
        let pod = pod(scenario, number, false);
        let begin = Instant::now();
        let snapshot = cache.snapshot();
        let moment = Moment {
            plugins: &plugins,
            nodes: &snapshot,
            nominations: &nominations,
            percentage: 0,
            extenders: &[],
            shapes: &shapes,
            now: Timestamp::UNIX_EPOCH,
        };
        if let Decision::Node(node) = schedule_one(&moment, &pod, &mut start, &mut luck) {
            drop(snapshot);
            cache.set_pod(pod, &node);
        }
        times.push(begin.elapsed());
    }
    times.sort();
    times
}

fn node(scenario: &str, number: usize, nodes: usize) -> Value {
    let zones = match scenario {
        "zone-affinity" => 1,
        "zone-spread" => 3,
        _ => 50,
    };
    let name = format!("node-{number:05}");
    let tainted = scenario == "hard-to-place" && number * 10 > nodes;
    json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", number % zones)}},
        "spec": if tainted { json!({"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]}) } else { json!({}) },
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn pod(scenario: &str, number: usize, large: bool) -> Arc<PodInfo> {
    let terms = |key: &str, color: &str| json!([{"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key, "namespaces": ["sched-1", "sched-0"]}]);
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let (color, more) = match scenario {
        "zone-affinity" => (
            "blue",
            json!({"affinity": {"podAffinity": {REQUIRED: terms("topology.kubernetes.io/zone", "blue")}}}),
        ),
        "host-anti-affinity" => (
            "green",
            json!({"affinity": {"podAntiAffinity": {REQUIRED: terms("kubernetes.io/hostname", "green")}}}),
        ),
        "zone-spread" => (
            "blue",
            json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"color": "blue"}}}]}),
        ),
        "preferences" => {
            let preference = json!({"weight": 10, "preference": {"matchExpressions": [
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-1", "zone-2", "zone-3"]}]}});
            ("red", json!({"affinity": {"nodeAffinity": {PREFERRED: [preference]}}}))
        }
        _ => ("none", json!({})),
    };
    let cpu = if large { "1600m" } else { "100m" };
    let amounts = json!({"cpu": cpu, "memory": "500Mi"});
    let mut spec = json!({"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.2",
        "ports": [{"containerPort": 80}], "resources": {"limits": amounts, "requests": amounts}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let name = format!("{scenario}-{number}");
    Arc::new(PodInfo::new(Arc::new(read(json!({
        "metadata": {"name": name, "namespace": "sched-1", "uid": name, "labels": {"color": color}}, "spec": spec})))))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    match serde_json::from_value(value) {
        Ok(read) => read,
        Err(error) => unreachable!("{error}"),
    }
}
