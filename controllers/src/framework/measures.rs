//! What is measured of queues and elections, under client-go's names.

use std::{sync::Arc, time::Duration};

use coracle_api::metrics::{Counter, Desc, Histogram, Kind, Registry};

const SECONDS: &[f64] =
    &[1e-8, 1e-7, 1e-6, 9.999999999999999e-6, 9.999999999999999e-5, 0.001, 0.01, 0.1, 1.0, 10.0];

static ADDS: Desc = Desc {
    name: "workqueue_adds_total",
    help: "[BETA] Total number of adds handled by workqueue",
    kind: Kind::Counter,
    labels: &["name"],
};
static RETRIES: Desc = Desc {
    name: "workqueue_retries_total",
    help: "[BETA] Total number of retries handled by workqueue",
    kind: Kind::Counter,
    labels: &["name"],
};
static QUEUED: Desc = Desc {
    name: "workqueue_queue_duration_seconds",
    help: "[BETA] How long in seconds an item stays in workqueue before being requested.",
    kind: Kind::Histogram(SECONDS),
    labels: &["name"],
};
static WORKED: Desc = Desc {
    name: "workqueue_work_duration_seconds",
    help: "[BETA] How long in seconds processing an item from workqueue takes.",
    kind: Kind::Histogram(SECONDS),
    labels: &["name"],
};
pub(super) static DEPTH: Desc = Desc {
    name: "workqueue_depth",
    help: "[BETA] Current depth of workqueue",
    kind: Kind::Gauge,
    labels: &["name"],
};
pub(super) static UNFINISHED: Desc = Desc {
    name: "workqueue_unfinished_work_seconds",
    help: "[BETA] How many seconds of work has done that is in progress and hasn't been observed by \
           work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by \
           observing the rate at which this increases.",
    kind: Kind::Gauge,
    labels: &["name"],
};
pub(super) static LONGEST: Desc = Desc {
    name: "workqueue_longest_running_processor_seconds",
    help: "[BETA] How many seconds has the longest running processor for workqueue been running.",
    kind: Kind::Gauge,
    labels: &["name"],
};
pub(super) static LEADS: Desc = Desc {
    name: "leader_election_master_status",
    help: "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 \
           indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
    kind: Kind::Gauge,
    labels: &["name"],
};
pub(super) static SLOW_RENEWALS: Desc = Desc {
    name: "leader_election_slowpath_total",
    help: "[ALPHA] Total number of slow path exercised in renewing leader leases. 'name' is the string used to \
           identify the lease. Please make sure to group by name.",
    kind: Kind::Counter,
    labels: &["name"],
};

// The handles of one queue.
pub(super) struct Measures {
    adds: Arc<Counter>,
    retries: Arc<Counter>,
    queued: Arc<Histogram>,
    worked: Arc<Histogram>,
}

impl Measures {
    pub(super) fn new(registry: &Registry, queue: &str) -> Self {
        Self {
            adds: registry.family(&ADDS).with(&[queue]),
            retries: registry.family(&RETRIES).with(&[queue]),
            queued: registry.family(&QUEUED).with(&[queue]),
            worked: registry.family(&WORKED).with(&[queue]),
        }
    }

    pub(super) fn added(&self) {
        self.adds.inc();
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn taken(&self, after: Duration) {
        self.queued.observe(after.as_secs_f64());
    }

    pub(super) fn done(&self, after: Duration) {
        self.worked.observe(after.as_secs_f64());
    }
}

/// The name that upstream gives the queue of a controller: dashboards know it.
/// Loops that upstream has none of keep theirs.
pub(super) fn queue_name(controller: &'static str) -> &'static str {
    match controller {
        "replicaset-controller" => "replicaset",
        "replicationcontroller-controller" => "replicationmanager",
        "deployment-controller" => "deployment",
        "statefulset-controller" => "statefulset",
        "daemonset-controller" => "daemonset",
        "job-controller" => "job",
        "cronjob-controller" => "cronjob",
        "disruption-controller" => "disruption",
        "disruption-stale-conditions" => "stale_pod_disruption",
        "endpoints-controller" => "endpoint",
        "endpointslice-controller" => "endpoint_slice",
        "endpointslice-mirroring-controller" => "endpoint_slice_mirroring",
        "garbage-collector-controller" => "garbage_collector_attempt_to_delete",
        "namespace-controller" => "namespace",
        "node-lifecycle-controller" => "node_lifecycle_controller",
        "taint-eviction-controller" => "noexec_taint_pod",
        "serviceaccount-controller" => "serviceaccount",
        "serviceaccount-token-controller" => "serviceaccount_tokens_service",
        "resourcequota-controller" => "resourcequota_primary",
        "root-ca-certificate-publisher-controller" => "root_ca_cert_publisher",
        "clusterrole-aggregation-controller" => "ClusterRoleAggregator",
        "ttl-after-finished-controller" => "ttl_jobs_to_delete",
        "pod-garbage-collector-controller" => "orphaned_pods_nodes",
        "persistentvolumeclaim-protection-controller" => "pvcprotection",
        "persistentvolume-protection-controller" => "pvprotection",
        "volumeattributesclass-protection-controller" => "vacprotection",
        "persistentvolume-binder-controller" => "claims",
        "persistentvolume-expander-controller" => "volume_expand",
        "ephemeral-volume-controller" => "ephemeral_volume",
        "horizontal-pod-autoscaler-controller" => "horizontalpodautoscaler",
        other => other,
    }
}
