//! Deletes pods that nobody else will: those whose node is gone, that end
//! without ever having had one, that end on a node declared out of service,
//! and the oldest of too many that have ended.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent},
    node_lifecycle::ready,
    pod,
};

const WORKERS: usize = 8;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The index of pods that have ended.
const ENDED: &str = "ended";
/// Pods that have ended are counted at most this often (upstream: 20 s).
const COUNT_EVERY: Duration = Duration::from_secs(20);

/// When pods are collected. The defaults are upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// How many pods that have ended may stay; 0: all.
    pub terminated_threshold: usize,
    /// How long a node must be missing before its pods are deleted.
    pub quarantine: Duration,
}

impl Default for Collection {
    fn default() -> Self {
        Self { terminated_threshold: 12_500, quarantine: Duration::from_secs(40) }
    }
}

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup, config: &Collection) {
    let nodes = setup.reflect::<Node>();
    let pods = setup.reflect::<Pod>();
    pod::index_by_node(&pods.store());
    pods.store().index(ENDED, |pod| pod::is_terminal(pod).then(|| "true".to_owned()).into_iter().collect());
    let queue = Queue::new();
    let collector = Arc::new(PodCollector {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        config: config.clone(),
        nodes: nodes.store(),
        pods: pods.store(),
    });
    let (on_pod, watching) = (queue.clone(), collector.clone());
    pods.on_change(move |change| {
        let Some(pod) = change.after else { return };
        if pod.metadata.deletion_timestamp.is_some() {
            on_pod.add(Work::Ending(Key::of(&pod.metadata)));
        }
        let came = change.before.is_none_or(|before| pod::node(before).is_none());
        let missing = |name: &&str| came && watching.nodes.get(&Key::cluster(*name)).is_none();
        if let Some(node) = pod::node(pod).filter(missing) {
            on_pod.add_after(Work::Node(node.to_owned()), watching.config.quarantine);
        }
        if pod::is_terminal(pod) && watching.config.terminated_threshold > 0 {
            on_pod.add_after(Work::Ended, COUNT_EVERY);
        }
    });
    let (on_node, watching) = (queue.clone(), collector.clone());
    nodes.on_change(move |change| match (change.before, change.after) {
        (Some(node), None) => {
            let name = node.metadata.name.clone().unwrap_or_default();
            on_node.add_after(Work::Node(name), watching.config.quarantine);
        }
        (_, Some(node)) if is_out_of_service(node) => {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let ending = watching.pods.indexed(pod::BY_NODE, name);
            let ending = ending.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
            on_node.extend(ending.map(|pod| Work::Ending(Key::of(&pod.metadata))));
        }
        _ => {}
    });
    setup.reconcile("pod-garbage-collector-controller", queue, WORKERS, Worker(collector));
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Work {
    /// A node that was missing.
    Node(String),
    /// A pod that is being deleted.
    Ending(Key),
    /// How many pods have ended.
    Ended,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Node(name) => write!(f, "node {name}"),
            Work::Ending(key) => write!(f, "pod {key}"),
            Work::Ended => f.write_str("pods that have ended"),
        }
    }
}

struct PodCollector {
    client: Client,
    clock: Clock,
    config: Collection,
    nodes: Arc<Store<Node>>,
    pods: Arc<Store<Pod>>,
}

struct Worker(Arc<PodCollector>);

impl Reconcile<Work> for Worker {
    async fn reconcile(&self, work: &Work) -> Result<Next, Error> {
        match work {
            Work::Node(name) => self.0.orphaned(name).await?,
            Work::Ending(key) => self.0.ending(key).await?,
            Work::Ended => self.0.ended().await?,
        }
        Ok(Next::Change)
    }
}

impl PodCollector {
    async fn orphaned(&self, node: &str) -> Result<(), Error> {
        let pods = self.pods.indexed(pod::BY_NODE, node);
        if pods.is_empty() || self.nodes.get(&Key::cluster(node)).is_some() {
            return Ok(());
        }
        // Live: nothing is deleted because a copy is incomplete.
        if absent(Api::<Node>::all(self.client.clone()).get_metadata(node).await)?.is_some() {
            return Ok(());
        }
        for pod in pods {
            self.remove(&pod, Some(("DeletionByPodGC", "PodGC: node no longer exists"))).await?;
        }
        Ok(())
    }

    async fn ending(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(key).filter(|pod| pod.metadata.deletion_timestamp.is_some()) else {
            return Ok(());
        };
        let left_alone = match pod::node(&pod) {
            None => true,
            Some(name) => self.nodes.get(&Key::cluster(name)).is_some_and(|node| is_out_of_service(&node)),
        };
        // With a grace period of none it is finalizers that keep it.
        if left_alone && pod.metadata.deletion_grace_period_seconds != Some(0) {
            return self.remove(&pod, None).await;
        }
        Ok(())
    }

    async fn ended(&self) -> Result<(), Error> {
        let surplus = self.pods.count_indexed(ENDED, "true").saturating_sub(self.config.terminated_threshold);
        if surplus == 0 {
            return Ok(());
        }
        let mut ended = self.pods.indexed(ENDED, "true");
        ended.sort_by_cached_key(|pod| rank(pod));
        for pod in ended.iter().take(surplus) {
            self.remove(pod, None).await?;
        }
        Ok(())
    }

    /// Deletes a pod at once, as failed unless it has ended.
    async fn remove(&self, pod: &Pod, disruption: Option<(&str, &str)>) -> Result<(), Error> {
        let meta = &pod.metadata;
        let api = Api::<Pod>::namespaced(self.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let name = meta.name.as_deref().unwrap_or_default();
        if !pod::is_terminal(pod) {
            let condition =
                disruption.and_then(|(reason, message)| pod::disruption(pod, reason, message, &self.clock));
            let mut status = json!({"phase": "Failed", "observedGeneration": meta.generation});
            if let Some(condition) = condition {
                status["conditions"] = json!([condition]);
            }
            let patch = Patch::Strategic(json!({"metadata": {"uid": meta.uid}, "status": status}));
            if absent(api.patch_status(name, &PatchParams::default(), &patch).await)?.is_none() {
                return Ok(());
            }
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        absent(api.delete(name, &params).await).map(drop)
    }
}

/// The order in which pods that have ended go: evicted ones first, then the
/// oldest.
fn rank(pod: &Pod) -> (bool, Option<jiff::Timestamp>, String) {
    let evicted = pod::phase(pod) == "Failed"
        && pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (!evicted, created, pod.metadata.name.clone().unwrap_or_default())
}

fn is_out_of_service(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let is_ready = ready(node).is_some_and(|ready| ready.status == "True");
    !is_ready && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn evicted_ones_and_old_ones_go_first() {
        let ended = |name: &str, created: &str, status: Value| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"name": name, "creationTimestamp": created}, "status": status}),
            )
            .unwrap()
        };
        let (early, late) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
        let done = || json!({"phase": "Succeeded"});
        let mut pods = [
            ended("c", late, done()),
            ended("b", early, done()),
            ended("a", early, done()),
            ended("evicted", late, json!({"phase": "Failed", "reason": "Evicted"})),
        ];
        pods.sort_by_cached_key(rank);
        let names: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["evicted", "a", "b", "c"]);
    }

    #[test]
    fn nodes_out_of_service() {
        let check = |ready: &str, taint: &str, expected: bool| {
            let node: Node = serde_json::from_value(json!({
                "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap();
            assert_eq!(is_out_of_service(&node), expected, "{ready} {taint}");
        };
        check("Unknown", OUT_OF_SERVICE, true);
        check("True", OUT_OF_SERVICE, false);
        check("False", "other", false);
    }
}
