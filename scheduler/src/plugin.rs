//! What a scheduling rule may do: upstream's extension points.

use std::{
    any::{Any, TypeId},
    collections::BTreeSet,
    sync::Arc,
    time::Duration,
};

use coracle_controllers::framework::{Error, Recorder};
use futures::future::BoxFuture;
use k8s_openapi::api::{core::v1::Node, resource::v1::ResourceClaim};
use kube::Client;
use tokio::sync::oneshot;

use crate::{
    cache::{NodeInfo, Snapshot},
    cycle::Search,
    pod::PodInfo,
};

/// The best score of a node.
pub const BEST: i64 = 100;

/// Why a pod cannot be on a node, or anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Upstream's texts, for the user.
    pub reasons: Vec<String>,
    /// Taking other pods away could help.
    pub resolvable: bool,
    /// It is no judgement: the rule could not do its work.
    pub failed: bool,
}

impl Rejection {
    /// A rejection that no other pod is to blame for.
    pub fn unresolvable(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: false, failed: false }
    }

    /// A rejection because of other pods.
    pub fn resolvable(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: true, failed: false }
    }

    /// No judgement, as the rule cannot do its work; the pod is tried again.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { reasons: vec![why.into()], resolvable: false, failed: true }
    }
}

/// What happens in a cluster that can help a rejected pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// A node came.
    NodeAdded,
    /// A node went.
    NodeRemoved,
    /// A node's resources changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints, or whether it may be scheduled on, changed.
    NodeTaints,
    /// The features that a node declares changed.
    NodeFeatures,
    /// A pod came onto a node, or one there was relabelled.
    PodPlaced,
    /// A pod on a node went, or shrank.
    PodRemoved,
    /// The pod itself changed.
    PodChanged,
    /// A claim, a volume, a class or what drivers say of them changed.
    Storage,
    /// A claim of devices changed.
    Claim,
    /// Devices, a class or the taints of them changed.
    Devices,
}

/// Something that happened, and to what: before and after.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub what: Happening,
    /// The pod that it happened to.
    pub pods: (Option<&'a PodInfo>, Option<&'a PodInfo>),
    /// The node that it happened to.
    pub nodes: (Option<&'a Node>, Option<&'a Node>),
    /// The claim of devices that it happened to.
    pub claims: (Option<&'a ResourceClaim>, Option<&'a ResourceClaim>),
}

impl From<Happening> for Event<'_> {
    fn from(what: Happening) -> Self {
        Self { what, pods: (None, None), nodes: (None, None), claims: (None, None) }
    }
}

/// What a rule works out once a cycle and reads for each node.
///
/// Few things are kept and they are read often: so a list.
#[derive(Default)]
pub struct CycleState(Vec<(TypeId, Box<dyn Any + Send + Sync>)>);

impl CycleState {
    /// Keeps `value` for the rest of the cycle.
    pub fn put<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.retain(|(id, _)| *id != TypeId::of::<T>());
        self.0.push((TypeId::of::<T>(), Box::new(value)));
    }

    /// What was kept, to change.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        let (_, kept) = self.0.iter_mut().find(|(id, _)| *id == TypeId::of::<T>())?;
        kept.downcast_mut()
    }

    /// What was kept.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        let (_, kept) = self.0.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        kept.downcast_ref()
    }
}

/// Whether a placed pod may be bound.
pub enum Permit {
    /// At once.
    Allow,
    /// When `until` says so, at the latest after `limit`.
    Wait {
        /// The decision.
        until: oneshot::Receiver<Result<(), Rejection>>,
        /// How long to wait for it.
        limit: Duration,
    },
}

/// Where a pod is to go once there is room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nomination {
    /// Where it was to go before, if anywhere.
    #[default]
    Keep,
    /// Nowhere any more.
    Clear,
    /// To this node.
    On(String),
}

/// What came of looking for room where there was none.
pub struct Room {
    /// The node on which room will be.
    pub nomination: Nomination,
    /// Upstream's text, for the user.
    pub message: String,
    /// The pods that are to go.
    pub victims: Vec<Arc<PodInfo>>,
    /// The claims whose devices are to be given back. With some, the next
    /// rule is asked too.
    pub claims: Vec<Arc<ResourceClaim>>,
}

impl Room {
    /// There is none.
    pub fn none(nomination: Nomination, message: String) -> Self {
        Self { nomination, message, victims: Vec::new(), claims: Vec::new() }
    }
}

/// What the word of a rule on a node depends on, besides the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Nothing: it lets the pod pass everywhere, or gives no node more than
    /// another. It is not asked.
    Nothing,
    /// The node and the pods on it; and of the pod what its shape holds: node
    /// selector and affinity, tolerations, amounts and ports. What it said
    /// holds until the node changes, for all pods of that shape. Whether a
    /// rule reads this must itself depend on the shape alone.
    Node,
    /// More. It is asked in each cycle.
    Cluster,
}

/// A scheduling rule. Every point has a default that lets everything pass.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// Where it reports what users should know; told once, before all else.
    fn report_to(&self, events: &Recorder) {
        let _ = events;
    }

    /// The weight of its scores.
    fn weight(&self) -> i64 {
        1
    }

    /// True when `happening` may help a pod that this rule rejected.
    fn helped_by(&self, happening: Happening) -> bool {
        let _ = happening;
        false
    }

    /// True when `event` may help `pod`, which this rule rejected. Only asked
    /// when [`Plugin::helped_by`] says so of any.
    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let _ = (pod, event);
        true
    }

    /// Whether the pod may be looked at at all.
    /// # Errors
    /// The pod waits until it changes.
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        let _ = pod;
        Ok(())
    }

    /// Works out what `filter` and `score` need; may name the only nodes that
    /// come into question.
    /// # Errors
    /// No node can take the pod.
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let _ = (state, pod, nodes);
        Ok(None)
    }

    /// What [`Plugin::filter`] reads for this pod, after [`Plugin::pre_filter`].
    fn filter_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        let _ = (state, pod);
        Reads::Cluster
    }

    /// Whether the node can take the pod.
    /// # Errors
    /// It cannot.
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let _ = (state, pod, node);
        Ok(())
    }

    /// `other` has come to the node, or gone when `more` is -1: brings what
    /// [`Plugin::pre_filter`] worked out up to that.
    ///
    /// Must undo itself: the same with the opposite `more` leads back to what
    /// was, so that one state serves the look at every node.
    fn suppose(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, more: i64) {
        let _ = (state, pod, other, node, more);
    }

    /// Looks for room when no node can take the pod; `None` leaves it to the
    /// next rule. It decides only: the scheduler carries out.
    fn post_filter(&self, search: &mut Search<'_>) -> Option<Room> {
        let _ = search;
        None
    }

    /// Works out what `score` needs of all nodes that can take the pod.
    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, nodes: &[&NodeInfo]) {
        let _ = (state, pod, nodes);
    }

    /// What [`Plugin::score`] reads for this pod, after [`Plugin::pre_score`].
    fn score_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        let _ = (state, pod);
        Reads::Cluster
    }

    /// How good the node is for the pod; `None` when this rule does not care.
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        let _ = (state, pod, node);
        None
    }

    /// Brings the scores of all nodes between 0 and [`BEST`].
    fn normalize(&self, scores: &mut [i64]) {
        let _ = scores;
    }

    /// Takes what the pod needs on the node.
    /// # Errors
    /// It cannot be had; the pod is tried again.
    fn reserve(&self, pod: &PodInfo, node: &str) -> Result<(), Rejection> {
        let _ = (pod, node);
        Ok(())
    }

    /// Gives back what [`Plugin::reserve`] took.
    fn unreserve(&self, pod: &PodInfo, node: &str) {
        let _ = (pod, node);
    }

    /// Undoes what [`Plugin::pre_bind`] wrote, when the pod is not bound.
    fn release<'a>(&'a self, client: &'a Client, pod: &'a PodInfo) -> Option<BoxFuture<'a, ()>> {
        let _ = (client, pod);
        None
    }

    /// Whether the pod may be bound.
    /// # Errors
    /// It may not; the pod is tried again.
    fn permit(&self, pod: &PodInfo, node: &str) -> Result<Permit, Rejection> {
        let _ = (pod, node);
        Ok(Permit::Allow)
    }

    /// Does what must be done before the pod is bound.
    fn pre_bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let _ = (client, pod, node);
        None
    }

    /// Binds the pod; `None` leaves it to the next rule.
    fn bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let _ = (client, pod, node);
        None
    }

    /// The pod was bound.
    fn post_bind(&self, pod: &PodInfo, node: &str) {
        let _ = (pod, node);
    }
}

/// Stretches `scores` so that the highest becomes [`BEST`]; turned around
/// when `reverse`, so that the lowest is best.
pub fn stretch(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let stretched = if highest == 0 { 0 } else { BEST * *score / highest };
        *score = if reverse { BEST - stretched } else { stretched };
    }
}
