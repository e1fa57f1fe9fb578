//! The nodes and what runs on them, and snapshots of that.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Node;

pub use crate::node_info::{NodeInfo, Pods};
use crate::{
    order::{Order, zone_of},
    pod::PodInfo,
};

/// All nodes as of one moment, in the order in which they are looked at.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: Arc<Vec<Arc<NodeInfo>>>,
    places: Arc<HashMap<String, usize>>,
    /// The cache that it is of.
    pub(crate) source: Arc<()>,
    /// Its number among the snapshots of that cache that differ.
    pub(crate) version: u64,
    /// Where it differs from the one before, if only so.
    changed: Option<Arc<Vec<usize>>>,
}

impl Snapshot {
    /// The nodes.
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.nodes.get(*self.places.get(name)?)
    }

    /// The nodes that differ from those of the snapshot before; none when
    /// nodes came or went, too.
    pub(crate) fn changed(&self) -> Option<impl Iterator<Item = &Arc<NodeInfo>>> {
        let changed = self.changed.as_ref()?;
        Some(changed.iter().filter_map(|at| self.nodes.get(*at)))
    }
}

/// The nodes and pods as last seen, with the pods that were just placed.
#[derive(Default)]
pub struct Cache {
    nodes: HashMap<String, Arc<NodeInfo>>,
    order: Order,
    /// Numbers of nodes that went.
    free: Vec<usize>,
    generation: u64,
    pods: HashMap<String, Place>,
    /// Nodes that differ from the last snapshot.
    changed: BTreeSet<String>,
    /// Nodes came, went or moved since the last snapshot.
    regrouped: bool,
    snapshot: Snapshot,
}

/// Where a pod is.
struct Place {
    node: String,
    /// The API has not shown it there yet.
    assumed: bool,
}

impl Cache {
    /// Puts a node in, or its new state.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let zone = zone_of(&node);
        let before = self.nodes.get(&name).and_then(|info| info.node.as_deref()).map(zone_of);
        if before.as_ref() != Some(&zone) {
            before.inspect(|before| self.order.remove(before, &name));
            self.order.add(zone, &name);
            self.regrouped = true;
        }
        self.edit(&name, |info| info.set_node(Some(node)));
    }

    /// Takes a node out; its pods are remembered until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.get(name) else { return };
        if let Some(node) = &info.node {
            self.order.remove(&zone_of(node), name);
        }
        self.regrouped = true;
        self.edit(name, |info| info.set_node(None));
        self.drop_if_empty(name);
    }

    /// Puts a pod on a node, or its new state, as the API shows it.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.put(pod, node, false);
    }

    /// Puts a pod on the node that it is going to be bound to. It stays there
    /// until the API says otherwise, or the binding fails: [`Cache::forget`].
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.put(pod, node, true);
    }

    fn put(&mut self, pod: Arc<PodInfo>, node: &str, assumed: bool) {
        let uid = pod.uid.clone();
        match self.pods.insert(uid.clone(), Place { node: node.to_owned(), assumed }) {
            Some(before) if before.node != node => self.take(&before.node, &uid),
            _ => {}
        }
        self.edit(node, |info| info.add(pod));
    }

    /// Takes a pod away; true when it was there.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(place) = self.pods.remove(uid) else { return false };
        self.take(&place.node, uid);
        true
    }

    /// Takes a pod away that could not be bound, unless the API has shown it
    /// bound: an answer may be lost though what was asked for was done.
    pub fn forget(&mut self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|place| place.assumed) && self.remove_pod(uid)
    }

    fn take(&mut self, node: &str, uid: &str) {
        self.edit(node, |info| info.remove(uid));
        self.drop_if_empty(node);
    }

    /// True when the pod is on a node, or was just placed.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut NodeInfo)) {
        if !self.nodes.contains_key(name) {
            // Numbers are dense: each that was given out is in use or free.
            let slot = self.free.pop().unwrap_or(self.nodes.len());
            self.nodes.insert(name.to_owned(), Arc::new(NodeInfo { slot, ..NodeInfo::default() }));
        }
        let Some(info) = self.nodes.get_mut(name) else { return };
        let info = Arc::make_mut(info);
        change(info);
        self.generation += 1;
        info.generation = Some(self.generation);
        if !self.changed.contains(name) {
            self.changed.insert(name.to_owned());
        }
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|info| info.node.is_none() && info.pods.is_empty()) {
            self.free.extend(self.nodes.remove(name).map(|info| info.slot));
        }
    }

    /// The present state. Costs only what changed since the last one.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.regrouped {
            let known = self.order.names().filter_map(|name| Some((name, self.nodes.get(name)?)));
            let mut places = HashMap::with_capacity(self.nodes.len());
            let mut nodes = Vec::with_capacity(self.nodes.len());
            for (name, info) in known {
                places.insert(name.to_owned(), nodes.len());
                nodes.push(info.clone());
            }
            self.snapshot.nodes = Arc::new(nodes);
            self.snapshot.places = Arc::new(places);
            self.snapshot.changed = None;
            self.snapshot.version += 1;
        } else if !self.changed.is_empty() {
            let Snapshot { nodes, places, changed, .. } = &mut self.snapshot;
            let nodes = Arc::make_mut(nodes);
            let mut at = Vec::with_capacity(self.changed.len());
            for name in &self.changed {
                // A node that only its pods tell of is in no snapshot.
                if let Some(place) = places.get(name)
                    && let (Some(slot), Some(info)) = (nodes.get_mut(*place), self.nodes.get(name))
                {
                    *slot = info.clone();
                    at.push(*place);
                }
            }
            *changed = Some(Arc::new(at));
            self.snapshot.version += 1;
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
        cache.set_node(node("a", "2"));
        cache.set_node(node("b", "4"));
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
        let snapshot = cache.snapshot();
        let found = snapshot.node("b").map(|info| info.name().to_owned());
        assert_eq!((found.as_deref(), snapshot.node("c").is_none()), (Some("b"), true));
    }

    #[test]
    fn only_what_is_assumed_is_forgotten() {
        let mut cache = Cache::default();
        cache.set_node(node("a", "2"));
        cache.assume(pod("lost", "1"), "a");
        assert!(cache.has_pod("lost") && cache.forget("lost"));
        assert_eq!(cache.snapshot().node("a").unwrap().requested.milli_cpu, 0, "its room is free again");
        cache.assume(pod("bound", "1"), "a");
        cache.set_pod(pod("bound", "1"), "a");
        assert!(!cache.forget("bound"), "the API has shown it bound: only the answer was lost");
        assert_eq!(cache.snapshot().node("a").unwrap().requested.milli_cpu, 1000);
    }

    #[test]
    fn states_and_nodes_are_told_apart() {
        let mut cache = Cache::default();
        let told = |cache: &mut Cache, name: &str| {
            let snapshot = cache.snapshot();
            snapshot.node(name).map(|info| (info.slot, info.generation)).unwrap()
        };
        cache.set_node(node("a", "2"));
        cache.set_node(node("b", "2"));
        let (a, b) = (told(&mut cache, "a"), told(&mut cache, "b"));
        assert_ne!(a.0, b.0);
        cache.assume(pod("p", "1"), "a");
        let later = told(&mut cache, "a");
        assert!(later.0 == a.0 && later.1 != a.1, "{a:?} {later:?}");
        assert_eq!(told(&mut cache, "b"), b);
        let mut thought = (**cache.snapshot().node("a").unwrap()).clone();
        thought.remove("p");
        assert_eq!(thought.generation, None, "a state in thought is no state of the cache");
        cache.remove_pod("p");
        cache.remove_node("a");
        cache.set_node(node("c", "2"));
        let c = told(&mut cache, "c");
        assert!(c.0 == a.0 && c.1 != later.1, "a number is used again, a state is not");
    }
}
