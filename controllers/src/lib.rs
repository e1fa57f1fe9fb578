//! Coracle's control loops.
//!
//! They know the API only through a [`kube::Client`]. Start at [`run`]; the
//! list of all loops is [`CONTROLLERS`]; what they stand on is [`framework`].

pub mod api_service_availability;
mod cluster_role_aggregation;
mod cron_job;
mod daemon_set;
mod deployment;
mod device_taint_eviction;
pub mod devices;
mod disruption;
mod drive_away;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod ephemeral_volume;
pub mod flow_schema_status;
pub mod framework;
mod garbage_collector;
mod history;
mod job;
#[cfg(test)]
mod merge;
mod namespace;
mod node_lifecycle;
pub mod node_selector;
mod persistent_volume;
pub mod pod;
mod pod_control;
mod pod_garbage_collector;
mod portion;
mod prefix;
mod provisioner;
mod replica_set;
mod resource_claim;
mod resource_quota;
mod root_ca;
mod selection;
mod service_account;
mod service_account_token;
mod service_cidr;
pub mod service_repair;
mod short_hash;
mod slow_start;
mod stateful_set;
pub mod storage;
mod taint_eviction;
pub mod toleration;
mod ttl_after_finished;
mod volume_expand;
mod volume_protection;

use std::path::PathBuf;

use framework::{Clock, Setup};
use kube::Client;
use tokio_util::sync::CancellationToken;

pub use node_lifecycle::Timing;
pub use pod_garbage_collector::Collection;
pub use selection::{Selection, UnknownController};

/// A control loop: upstream's name and what puts it in.
pub struct Controller {
    /// Upstream's name.
    pub name: &'static str,
    start: fn(&mut Setup, &Config),
}

/// All control loops, in the order in which they start.
pub const CONTROLLERS: &[Controller] = &[
    Controller { name: "namespace-controller", start: |setup, _| namespace::start(setup) },
    Controller { name: "serviceaccount-controller", start: |setup, _| service_account::start(setup) },
    Controller {
        name: "serviceaccount-token-controller",
        start: |setup, config| service_account_token::start(setup, config.root_ca.as_deref()),
    },
    Controller { name: "root-ca-certificate-publisher-controller", start: start_root_ca },
    Controller {
        name: "node-lifecycle-controller",
        start: |setup, config| node_lifecycle::start(setup, &config.nodes),
    },
    Controller { name: "taint-eviction-controller", start: |setup, _| taint_eviction::start(setup) },
    Controller {
        name: "pod-garbage-collector-controller",
        start: |setup, config| pod_garbage_collector::start(setup, &config.pod_collection),
    },
    Controller { name: "deployment-controller", start: |setup, _| deployment::start(setup) },
    Controller { name: "replicaset-controller", start: |setup, _| replica_set::start(setup) },
    Controller {
        name: "replicationcontroller-controller",
        start: |setup, _| replica_set::start_replication_controllers(setup),
    },
    Controller { name: "statefulset-controller", start: |setup, _| stateful_set::start(setup) },
    Controller { name: "job-controller", start: |setup, _| job::start(setup) },
    Controller { name: "daemonset-controller", start: |setup, _| daemon_set::start(setup) },
    Controller { name: "cronjob-controller", start: |setup, _| cron_job::start(setup) },
    Controller { name: "ttl-after-finished-controller", start: |setup, _| ttl_after_finished::start(setup) },
    Controller { name: "resourcequota-controller", start: |setup, _| resource_quota::start(setup) },
    Controller { name: "disruption-controller", start: |setup, _| disruption::start(setup) },
    Controller { name: "endpointslice-controller", start: |setup, _| endpoint_slice::start(setup) },
    Controller { name: "endpoints-controller", start: |setup, _| endpoints::start(setup) },
    Controller {
        name: "endpointslice-mirroring-controller",
        start: |setup, _| endpoint_slice_mirroring::start(setup),
    },
    Controller { name: "service-cidr-controller", start: |setup, _| service_cidr::start(setup) },
    Controller {
        name: "clusterrole-aggregation-controller",
        start: |setup, _| cluster_role_aggregation::start(setup),
    },
    Controller {
        name: "persistentvolume-binder-controller",
        start: |setup, _| persistent_volume::start(setup),
    },
    Controller {
        name: "persistentvolume-protection-controller",
        start: |setup, _| volume_protection::start_volumes(setup),
    },
    Controller {
        name: "persistentvolumeclaim-protection-controller",
        start: |setup, _| volume_protection::start_claims(setup),
    },
    Controller {
        name: "volumeattributesclass-protection-controller",
        start: |setup, _| volume_protection::start_attributes(setup),
    },
    Controller {
        name: "persistentvolume-expander-controller",
        start: |setup, _| volume_expand::start(setup),
    },
    Controller { name: "ephemeral-volume-controller", start: |setup, _| ephemeral_volume::start(setup) },
    Controller { name: "resourceclaim-controller", start: |setup, _| resource_claim::start(setup) },
    Controller {
        name: "device-taint-eviction-controller",
        start: |setup, _| device_taint_eviction::start(setup),
    },
    Controller { name: "coracle-local-provisioner", start: start_provisioner },
    Controller { name: "garbage-collector-controller", start: start_garbage_collector },
];

fn start_provisioner(setup: &mut Setup, config: &Config) {
    if let Some(directory) = &config.local_volumes {
        provisioner::start(setup, directory);
    }
}

// The last of all: it need not watch again what others reflect.
fn start_garbage_collector(setup: &mut Setup, _: &Config) {
    setup.at_last(garbage_collector::start);
}

fn start_root_ca(setup: &mut Setup, config: &Config) {
    if let Some(bundle) = &config.root_ca {
        root_ca::start(setup, bundle);
    }
}

/// What the control loops are given.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Which of them run.
    pub controllers: Selection,
    /// The time.
    pub clock: Clock,
    /// How silent nodes are treated.
    pub nodes: node_lifecycle::Timing,
    /// When pods are collected that nobody else deletes.
    pub pod_collection: Collection,
    /// Where the local provisioner has its volumes; there is none without it.
    pub local_volumes: Option<PathBuf>,
    /// The CA certificates, in PEM, that every namespace is given; none are
    /// published without it.
    pub root_ca: Option<String>,
}

impl Config {
    /// The default with the controllers of `list`, in upstream's syntax.
    /// # Errors
    /// A name that no controller has.
    pub fn with_controllers(list: &str) -> Result<Self, UnknownController> {
        let controllers = Selection::parse(list, CONTROLLERS.iter().map(|c| c.name))?;
        Ok(Self { controllers, ..Self::default() })
    }
}

/// Puts the control loops in.
pub fn start(setup: &mut Setup, config: &Config) {
    for controller in CONTROLLERS.iter().filter(|c| config.controllers.includes(c.name)) {
        setup.section();
        (controller.start)(setup, config);
    }
}

/// Runs the control loops alone until `shutdown`, and waits for them to end.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let mut setup = Setup::new(client, config.clock.clone());
    start(&mut setup, &config);
    setup.run(shutdown).await;
}
