//! Pods that have no node yet, and the nodes on which room is being made for
//! them.
//!
//! Invariant: a pod is nominated to one node at most.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::pod::PodInfo;

/// Who is nominated where.
#[derive(Debug, Clone, Default)]
pub struct Nominations {
    /// By node, then by uid.
    nodes: HashMap<String, BTreeMap<String, Arc<PodInfo>>>,
    /// The node of each pod, by uid.
    pods: HashMap<String, String>,
}

impl Nominations {
    /// Nominates `pod` to `node`, and to no other.
    pub fn add(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        self.pods.insert(pod.uid.clone(), node.to_owned());
        self.nodes.entry(node.to_owned()).or_default().insert(pod.uid.clone(), pod);
    }

    /// Forgets a pod; true when it was nominated.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(node) = self.pods.remove(uid) else { return false };
        if let Some(pods) = self.nodes.get_mut(&node) {
            pods.remove(uid);
            if pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
        true
    }

    /// True when the pod is nominated.
    pub fn holds(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// True when nobody is nominated.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// The pods nominated to `node`.
    pub fn on(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nodes.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// A pending pod is now `pod`: what its status says counts, but a
    /// nomination that has not been written yet outlives other changes.
    pub fn follow(&mut self, pod: Arc<PodInfo>, said_before: Option<&str>) {
        match (pod.nominated().map(str::to_owned), said_before) {
            (Some(node), _) => self.add(pod, &node),
            (None, Some(_)) => {
                self.remove(&pod.uid);
            }
            (None, None) => {
                if let Some(node) = self.pods.get(&pod.uid).cloned() {
                    self.add(pod, &node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, nominated: Option<&str>) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"uid": uid, "name": uid}, "spec": {"containers": []},
            "status": {"nominatedNodeName": nominated}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn on(nominations: &Nominations, node: &str) -> Vec<String> {
        nominations.on(node).map(|pod| pod.uid.clone()).collect()
    }

    #[test]
    fn a_pod_is_nominated_once_and_until_its_status_says_otherwise() {
        let mut nominations = Nominations::default();
        nominations.add(pod("p", None), "a");
        nominations.follow(pod("p", None), None);
        assert_eq!(on(&nominations, "a"), ["p"], "not written yet");
        nominations.follow(pod("p", Some("b")), None);
        assert_eq!((on(&nominations, "a"), on(&nominations, "b")), (vec![], vec!["p".to_owned()]));
        nominations.follow(pod("p", None), Some("b"));
        assert!(nominations.is_empty(), "cleared");
        assert!(!nominations.remove("p"));
    }
}
