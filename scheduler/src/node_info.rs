//! A node and the pods on it, with what they come to.

use std::sync::Arc;

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
    /// Its pods.
    pub pods: Pods,
    /// Its number as long as it is there; small, and no other node's.
    pub(crate) slot: usize,
    /// Tells this state from all others of all nodes of a cache; nothing for
    /// a state that is only thought of.
    pub(crate) generation: Option<u64>,
}

impl NodeInfo {
    /// The node's name; empty when the node is not known.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let status = node.as_ref().and_then(|node| node.status.as_ref());
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        self.allocatable = allocatable.map(Resources::parse).unwrap_or_default();
        self.node = node;
        self.generation = None;
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.add(&pod.scoring);
        if let Some(before) = self.pods.insert(pod) {
            self.requested.subtract(&before.requests);
            self.scoring.subtract(&before.scoring);
        }
        self.generation = None;
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.scoring.subtract(&pod.scoring);
        }
        self.generation = None;
    }
}

/// The pods of a node, by uid.
///
/// Nodes have few pods, and are copied whenever one comes or goes: so a list.
#[derive(Debug, Clone, Default)]
pub struct Pods(Vec<Arc<PodInfo>>);

impl Pods {
    /// The pods, in the order of their uids.
    pub fn values(&self) -> std::slice::Iter<'_, Arc<PodInfo>> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        match self.find(&pod.uid) {
            Ok(at) => self.0.get_mut(at).map(|place| std::mem::replace(place, pod)),
            Err(at) => {
                self.0.insert(at, pod);
                None
            }
        }
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.find(uid).ok().map(|at| self.0.remove(at))
    }

    fn find(&self, uid: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|pod| pod.uid.as_str().cmp(uid))
    }
}
