//! Keeps a pod on every node that a DaemonSet's template may run on.
//!
//! Start at [`plan::plan`]. A reconcile goes in two steps: which revision the
//! set's template is ([`revision::turn`]), and what its pods need.

mod backoff;
mod daemon;
mod execute;
mod plan;
mod revision;
mod rollout;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use self::{
    backoff::Backoff,
    daemon::{Place, Places},
    plan::Field,
};
use crate::{
    framework::{
        Change, Error, Expectations, Key, Next, Queue, Reconcile, Setup, Severity, Store, Style,
        controller_of, matches,
    },
    pod::{self, BY_NODE},
    pod_control::{PodControl, concerned},
};

const WORKERS: usize = 2;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let sets = setup.reflect::<DaemonSet>();
    let pods = setup.reflect::<Pod>();
    let nodes = setup.reflect::<Node>();
    let revisions = setup.reflect::<ControllerRevision>();
    pod::index_by_node(&pods.store());
    let queue = Queue::new();
    let on_set = queue.clone();
    sets.on_change(move |change| {
        if let Some(set) = change.sides().last() {
            on_set.add(Key::of(&set.metadata));
        }
    });
    let (on_pod, known) = (queue.clone(), sets.store());
    pods.on_change(move |change| {
        on_pod.extend(concerned(change, &known, |set, labels| matches(&set.spec.selector, labels)));
    });
    let (on_node, known, known_pods) = (queue.clone(), sets.store(), pods.store());
    nodes.on_change(move |change| on_node.extend(unsettled(change, &known, &known_pods)));
    let controller = DaemonSets {
        sets: sets.store(),
        nodes: nodes.store(),
        revisions: revisions.store(),
        backoff: Backoff::default(),
        control: PodControl {
            client: setup.client.clone(),
            clock: setup.clock.clone(),
            events: setup.recorder("daemonset-controller", Style::Counted),
            pods: pods.store(),
            expectations: Expectations::default(),
        },
    };
    setup.reconcile("daemonset-controller", queue, WORKERS, controller);
}

/// The sets that have something to do because of a change of a node.
fn unsettled(change: &Change<'_, Node>, sets: &Store<DaemonSet>, pods: &Store<Pod>) -> Vec<Key> {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if let (Some(before), Some(after)) = (change.before, change.after)
        && before.metadata.labels == after.metadata.labels
        && taints(before) == taints(after)
    {
        return Vec::new();
    }
    let Some(node) = change.sides().last() else { return Vec::new() };
    let on_node = pods.indexed(BY_NODE, node.metadata.name.as_deref().unwrap_or_default());
    let concerns = |set: &&Arc<DaemonSet>| {
        let places = Places::of(set);
        let place = |node: &Arc<Node>| places.on(node);
        // What a set reports also changes when a node becomes one that it could run on.
        if change.before.map(place) != change.after.map(place) {
            return true;
        }
        let owner = |pod: &Arc<Pod>| controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        let scheduled = on_node.iter().any(|pod| owner(pod) == set.metadata.uid);
        let misplaced = set.status.as_ref().is_some_and(|status| status.number_misscheduled > 0);
        match places.on(node) {
            Place::Runs => !scheduled || misplaced,
            Place::Stays => scheduled && misplaced,
            Place::Leaves => scheduled,
        }
    };
    let sets = sets.all();
    sets.iter().filter(concerns).map(|set| Key::of(&set.metadata)).collect()
}

struct DaemonSets {
    sets: Arc<Store<DaemonSet>>,
    nodes: Arc<Store<Node>>,
    revisions: Arc<Store<ControllerRevision>>,
    backoff: Backoff,
    control: PodControl,
}

impl Reconcile<Key> for DaemonSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let now = self.control.clock.now();
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.control.expectations.satisfied(key, &self.control.pods, now);
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            self.backoff.forget(key);
            return Ok(Next::Change);
        };
        if set.spec.selector == LabelSelector::default() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.events.event(&*set, Severity::Warning, "SelectingAll", message);
            return Ok(Next::Change);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        let pods = self.claim_pods(key, &set).await?;
        let (hash, old) = self.revision(&set, &pods).await?;
        let generation = execute::acted_on(&set);
        let waiting = self.backoff.waiting(key, generation, now);
        let nodes = self.nodes.all();
        let observed = plan::Observed { set, pods, nodes, hash, settled, waiting };
        let field = Field::of(&observed, now);
        let plan = plan::plan(&field);
        self.execute(key, &field, plan, &old).await
    }
}
