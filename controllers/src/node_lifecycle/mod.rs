//! Notices nodes that are silent or not well, and keeps pods away from them.
//!
//! Each change of a node leads to its NoSchedule taints ([`taints`]); every
//! period all nodes are looked at ([`monitor`]), because silence is no change:
//! [`health`] says which are silent, [`zones`] how fast pods may be driven
//! away from them.

mod health;
mod monitor;
mod pods;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition, Pod},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Store, Style, absent},
    pod,
};

const WORKERS: usize = 32;

/// How silent nodes are treated. The defaults are upstream's.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Time between two looks at all nodes.
    pub monitor_period: Duration,
    /// How long a node may be silent.
    pub monitor_grace: Duration,
    /// How long a node that has never told how it is may be silent.
    pub startup_grace: Duration,
    /// Nodes a second that pods are driven away from in a healthy zone.
    pub eviction_rate: f64,
    /// The same in a zone that is partly disrupted, when it is large.
    pub secondary_eviction_rate: f64,
    /// A zone with more nodes than this is large.
    pub large_cluster_threshold: usize,
    /// The part of a zone's nodes that are not ready, from which on it is
    /// disrupted.
    pub unhealthy_zone_threshold: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            monitor_period: Duration::from_secs(5),
            monitor_grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
            eviction_rate: 0.1,
            secondary_eviction_rate: 0.01,
            large_cluster_threshold: 50,
            unhealthy_zone_threshold: 0.55,
        }
    }
}

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup, timing: &Timing) {
    let nodes = setup.reflect::<Node>();
    let pods = setup.reflect::<Pod>();
    let leases = setup.reflect::<Lease>();
    pod::index_by_node(&pods.store());
    let queue = Queue::new();
    let on_node = queue.clone();
    nodes.on_change(move |change| {
        if let Some(node) = change.after {
            on_node.add(Work::Node(Key::of(&node.metadata)));
        }
    });
    let on_pod = queue.clone();
    pods.on_change(move |change| {
        let came = |pod: &Arc<Pod>| pod::node(pod).is_some() && pod::is_ready(pod);
        if change.after.is_some_and(came) && !change.before.is_some_and(came) {
            on_pod.extend(change.after.map(|pod| Work::Pod(Key::of(&pod.metadata))));
        }
    });
    let lifecycle = Arc::new(NodeLifecycle {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("node-controller", Style::Counted),
        nodes: nodes.store(),
        pods: pods.store(),
        leases: leases.store(),
    });
    let (watching, timing) = (lifecycle.clone(), timing.clone());
    setup.when_synced(move |shutdown| monitor::run(watching, timing, shutdown));
    setup.reconcile("node-lifecycle-controller", queue, WORKERS, Worker(lifecycle));
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Work {
    /// A node that has changed.
    Node(Key),
    /// A pod that says it is ready.
    Pod(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Node(key) => write!(f, "node {key}"),
            Work::Pod(key) => write!(f, "pod {key}"),
        }
    }
}

struct NodeLifecycle {
    client: Client,
    clock: Clock,
    events: Recorder,
    nodes: Arc<Store<Node>>,
    pods: Arc<Store<Pod>>,
    leases: Arc<Store<Lease>>,
}

struct Worker(Arc<NodeLifecycle>);

impl Reconcile<Work> for Worker {
    async fn reconcile(&self, work: &Work) -> Result<Next, Error> {
        match work {
            Work::Node(key) => self.0.sync_node(key).await?,
            Work::Pod(key) => self.0.sync_pod(key).await?,
        }
        Ok(Next::Change)
    }
}

impl NodeLifecycle {
    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn sync_node(&self, key: &Key) -> Result<(), Error> {
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        if let Some(taints) = taints::no_schedule(&node, self.clock.now()) {
            taints::write(&self.api(), &node, &taints).await?;
        }
        let labels = aged_labels(&node);
        if !labels.is_empty() {
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            absent(self.api().patch_metadata(&key.name, &PatchParams::default(), &patch).await)?;
        }
        Ok(())
    }

    async fn sync_pod(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(key) else { return Ok(()) };
        let node = pod::node(&pod).and_then(|name| self.nodes.get(&Key::cluster(name)));
        match node.as_deref().and_then(ready) {
            // Its kubelet says how the pod is.
            Some(ready) if ready.status == "Unknown" => self.mark_not_ready(&pod).await,
            _ => Ok(()),
        }
    }
}

/// The node's condition `Ready`.
pub(crate) fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")
}

/// The labels of old that must be equal to those of today.
fn aged_labels(node: &Node) -> BTreeMap<&'static str, &str> {
    const PAIRS: [(&str, &str); 2] =
        [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];
    let Some(labels) = node.metadata.labels.as_ref() else { return BTreeMap::new() };
    PAIRS
        .into_iter()
        .filter_map(|(today, old)| Some((labels.get(today)?, old)))
        .filter(|(value, old)| labels.get(*old) != Some(*value))
        .map(|(value, old)| (old, value.as_str()))
        .collect()
}
