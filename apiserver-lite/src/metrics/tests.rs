use coracle_api::metrics::{Desc, Kind};

use super::facts;

// Families that only show when something goes wrong: the recorded server had
// no reason to.
const UNRECORDED: &[&str] = &[
    "apiserver_request_aborts_total",
    "apiserver_request_terminations_total",
    "apiserver_terminated_watchers_total",
    "kubernetes_healthcheck",
    "kubernetes_healthchecks_total",
];

fn shown(desc: &Desc) -> String {
    let (kind, bounds) = match desc.kind {
        Kind::Counter => ("counter", &[][..]),
        Kind::Gauge => ("gauge", &[][..]),
        Kind::Histogram(bounds) => ("histogram", bounds),
    };
    let mut labels = desc.labels.to_vec();
    labels.sort_unstable();
    format!("{} {kind} {} {bounds:?} {}", desc.name, labels.join(","), desc.help)
}

#[test]
fn families_are_upstreams() {
    let recorded: Vec<String> = include_str!("upstream.tsv")
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (name, kind, labels, bounds, help) = (next(), next(), next(), next(), next());
            let bounds: Vec<f64> =
                bounds.split_whitespace().map(|it| it.parse().expect("a number")).collect();
            format!("{name} {kind} {labels} {bounds:?} {help}")
        })
        .collect();
    for desc in facts::ALL.iter().filter(|desc| !UNRECORDED.contains(&desc.name)) {
        let ours = shown(desc);
        assert!(recorded.contains(&ours), "not upstream's: {ours}");
    }
}
