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

// What upstream has and we do not, by how the names begin, and why.
const UNSERVED: &[(&str, &str)] = &[
    ("aggregator_", "no other server is aggregated"),
    ("apiextensions_apiserver_", "ratcheting is not timed"),
    ("apiserver_admission_step_admission_duration_seconds_summary", "the histogram tells it"),
    ("apiserver_audit_", "there is no audit log"),
    ("apiserver_cel_", "expressions are not timed"),
    (
        "apiserver_client_certificate_expiration_seconds",
        "the rest of a certificate's life is not kept after the handshake",
    ),
    ("apiserver_current_inqueue_requests", "nothing queues before the handlers"),
    ("apiserver_envelope_encryption_", "nothing is encrypted in the store"),
    ("apiserver_flowcontrol_", "nothing queues before the handlers"),
    ("apiserver_kube_aggregator_", "no other server is aggregated"),
    ("apiserver_nodeport_repair_", "allotted ports need no repair"),
    ("apiserver_request_filter_duration_seconds", "there is no chain of filters"),
    ("apiserver_request_timestamp_comparison_time", "equal objects are found by their bytes"),
    ("apiserver_resource_size_estimate_bytes", "the store's size is known as a whole"),
    ("apiserver_selfrequest_total", "the server asks nothing of itself"),
    ("apiserver_storage_data_key_", "nothing is encrypted in the store"),
    ("apiserver_storage_envelope_", "nothing is encrypted in the store"),
    ("apiserver_storage_events_received_total", "the store is in this process"),
    ("apiserver_storage_list_", "lists are pages of an index in memory"),
    ("apiserver_validation_", "there is one validation"),
    ("apiserver_watch_cache_consistent_read_total", "reads come from the index itself"),
    ("apiserver_watch_cache_events_dispatched_total", "watchers read the history themselves"),
    ("apiserver_watch_cache_initialization", "there is no cache to fill"),
    ("apiserver_watch_cache_read_wait_seconds", "reads come from the index itself"),
    ("apiserver_watch_events_dispatch_duration_seconds", "watchers read the history themselves"),
    ("apiserver_webhooks_", "no webhooks are called"),
    ("cardinality_enforcement_", "of upstream's library"),
    ("disabled_metrics_total", "of upstream's library"),
    ("etcd_bookmark_total", "the store is in this process"),
    ("etcd_lease_object_counts", "objects that expire have no lease"),
    ("field_validation_request_duration_seconds", "upstream never observes it"),
    ("grpc_client_", "the store is in this process"),
    ("hidden_metrics_total", "of upstream's library"),
    ("informer_", "the server has no informers"),
    ("kube_apiserver_", "allotted addresses and ports are not counted apart"),
    ("pod_security_", "evaluations are not counted"),
    ("registered_metrics_total", "of upstream's library"),
    ("rest_client_", "clients in this process have no transport"),
    ("serviceaccount_", "tokens are not counted by kind"),
    ("workqueue_", "the controllers' framework serves them"),
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

#[test]
fn what_is_not_served_has_a_reason() {
    for line in include_str!("upstream.tsv").lines() {
        let name = line.split('\t').next().unwrap_or_default();
        let served = facts::ALL.iter().any(|desc| desc.name == name);
        let reason = UNSERVED.iter().find(|(prefix, _)| name.starts_with(prefix));
        assert!(served != reason.is_some(), "{name}: served {served}, {reason:?}");
    }
}
