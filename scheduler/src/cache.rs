//! The nodes and what runs on them, and snapshots of that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Node;

use crate::{pod::PodInfo, resources::Resources};

/// A node and the pods on it.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// The node; none when only its pods are known yet.
    pub node: Option<Arc<Node>>,
    /// What pods may have.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// What its pods count as when nodes are compared.
    pub scoring: Resources,
    /// Its pods, by uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    /// The node's name; empty when the node is not known.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.add(&pod.scoring);
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.scoring.subtract(&pod.scoring);
        }
    }
}

/// All nodes as of one moment, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: Arc<Vec<Arc<NodeInfo>>>,
}

impl Snapshot {
    /// The nodes, by name.
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        let at = self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()?;
        self.nodes.get(at)
    }
}

/// The nodes and pods as last seen, with the pods that were just placed.
#[derive(Default)]
pub struct Cache {
    nodes: BTreeMap<String, Arc<NodeInfo>>,
    /// Where each pod is, by uid.
    pods: HashMap<String, String>,
    /// Nodes that differ from the last snapshot.
    changed: BTreeSet<String>,
    /// A node came or went since the last snapshot.
    regrouped: bool,
    snapshot: Snapshot,
}

impl Cache {
    /// Puts a node in, or its new state.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.edit(&name);
        let new = info.node.is_none();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        info.allocatable = allocatable.map(Resources::parse).unwrap_or_default();
        info.node = Some(node);
        self.regrouped |= new;
    }

    /// Takes a node out; its pods are remembered until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let info = self.edit(name);
        info.node = None;
        info.allocatable = Resources::default();
        self.regrouped = true;
        self.drop_if_empty(name);
    }

    /// Puts a pod on a node, or its new state.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.uid);
        self.pods.insert(pod.uid.clone(), node.to_owned());
        self.edit(node).add(pod);
    }

    /// Takes a pod away; true when it was there.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(node) = self.pods.remove(uid) else { return false };
        self.edit(&node).remove(uid);
        self.drop_if_empty(&node);
        true
    }

    /// True when the pod is on a node, or was just placed.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    fn edit(&mut self, name: &str) -> &mut NodeInfo {
        self.changed.insert(name.to_owned());
        Arc::make_mut(self.nodes.entry(name.to_owned()).or_default())
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|info| info.node.is_none() && info.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }

    /// The present state. Costs only what changed since the last one.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.regrouped {
            let known = self.nodes.values().filter(|info| info.node.is_some());
            self.snapshot.nodes = Arc::new(known.cloned().collect());
        } else if !self.changed.is_empty() {
            let nodes = Arc::make_mut(&mut self.snapshot.nodes);
            for name in &self.changed {
                if let Ok(at) = nodes.binary_search_by(|node| node.name().cmp(name))
                    && let (Some(slot), Some(info)) = (nodes.get_mut(at), self.nodes.get(name))
                {
                    *slot = info.clone();
                }
            }
        }
        self.regrouped = false;
        self.changed.clear();
        self.snapshot.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, cpu: &str) -> Arc<Node> {
        let node =
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "pods": "110"}}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(uid: &str, cpu: &str) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"uid": uid, "name": uid}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn shown(cache: &mut Cache) -> Vec<(String, i64, i64)> {
        let snapshot = cache.snapshot();
        let nodes = snapshot.nodes().iter();
        nodes.map(|n| (n.name().to_owned(), n.allocatable.milli_cpu, n.requested.milli_cpu)).collect()
    }

    #[test]
    fn snapshots_follow_and_stay_as_they_were() {
        let row = |name: &str, allocatable, requested| (name.to_owned(), allocatable, requested);
        let mut cache = Cache::default();
        cache.set_pod(pod("early", "1"), "b");
        assert_eq!(shown(&mut cache), [], "a pod may be known before its node");
        cache.set_node(node("b", "4"));
        cache.set_node(node("a", "2"));
        assert_eq!(shown(&mut cache), [row("a", 2000, 0), row("b", 4000, 1000)]);
        let before = cache.snapshot();
        cache.set_pod(pod("one", "500m"), "a");
        cache.set_pod(pod("one", "700m"), "a");
        assert_eq!(shown(&mut cache), [row("a", 2000, 700), row("b", 4000, 1000)]);
        assert_eq!(before.node("a").unwrap().requested.milli_cpu, 0, "an old snapshot does not move");
        cache.set_pod(pod("one", "700m"), "b");
        assert!(cache.remove_pod("early") && !cache.remove_pod("early"));
        assert_eq!(shown(&mut cache), [row("a", 2000, 0), row("b", 4000, 700)]);
        cache.remove_node("b");
        assert_eq!(shown(&mut cache), [row("a", 2000, 0)]);
        cache.set_node(node("b", "8"));
        assert_eq!(shown(&mut cache), [row("a", 2000, 0), row("b", 8000, 700)], "its pods were remembered");
    }
}
