//! Keeps as many pods as a ReplicaSet, or a ReplicationController, asks for.
//!
//! Start at [`plan::plan`]. A ReplicationController is seen as the ReplicaSet
//! that says the same: what differs is in [`Replicating`].

mod execute;
mod plan;
pub(crate) mod ranking;
mod replication_controller;
mod status;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{ReplicaSet, ReplicaSetStatus},
        core::v1::{Pod, ReplicationController},
    },
};
use kube::Resource;
use serde::Serialize;

use crate::{
    framework::{
        Error, Expectations, Key, Next, Queue, Reconcile, Reflected, Setup, Store, Style, controller_of,
        controller_reference, matches,
    },
    pod_control::{PodControl, concerned},
};

const WORKERS: usize = 5;
/// Changes of pods are gathered for so long for each pod that a set asks for: what a look at the set costs grows
/// with them, and so does the number of changes.
const GATHERED: Duration = Duration::from_micros(500);
/// And for no longer than this.
const GATHERED_LONGEST: Duration = Duration::from_millis(100);

/// A kind that keeps a number of equal pods.
pub(crate) trait Replicating:
    Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize
{
    /// Upstream's name of its controller.
    const CONTROLLER: &'static str;

    /// The ReplicaSet that says the same.
    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet>;

    /// The same object with this status, if that is another than it has.
    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self>;
}

impl Replicating for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet> {
        this.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }
}

/// Puts the controller of ReplicaSets in.
pub(crate) fn start(setup: &mut Setup) {
    start_of::<ReplicaSet>(setup);
}

/// Puts the controller of ReplicationControllers in.
pub(crate) fn start_replication_controllers(setup: &mut Setup) {
    start_of::<ReplicationController>(setup);
}

fn start_of<K: Replicating>(setup: &mut Setup) {
    let sets = setup.reflect::<K>();
    let pods = setup.reflect::<Pod>();
    let queue = Queue::new();
    let on_set = queue.clone();
    sets.on_change(move |change| {
        if let Some(set) = change.sides().last() {
            on_set.add(Key::of(set.meta()));
        }
    });
    let (on_pod, known) = (queue.clone(), sets.store());
    pods.on_change(move |change| {
        for key in concerned(change, &known, |set, labels| matches(&K::as_set(set).spec.selector, labels)) {
            let delay = known.get(&key).map_or(Duration::ZERO, |set| gathering(&K::as_set(&set)));
            on_pod.add_after(key, delay);
        }
    });
    let control = PodControl {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder(K::CONTROLLER, Style::Counted),
        pods: pods.store(),
        expectations: Expectations::default(),
    };
    let controller = ReplicaSets { sets: sets.store(), control };
    setup.reconcile(K::CONTROLLER, queue, WORKERS, controller);
}

/// How long changes of the set's pods are gathered.
fn gathering(set: &ReplicaSet) -> Duration {
    let pods = u32::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    GATHERED.saturating_mul(pods).min(GATHERED_LONGEST)
}

struct ReplicaSets<K: Replicating> {
    sets: Arc<Store<K>>,
    control: PodControl,
}

impl<K: Replicating> Reconcile<Key> for ReplicaSets<K> {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let now = self.control.clock.now();
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.control.settled(key);
        let Some(stored) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(Next::Change);
        };
        let observed = self.observe(key, &stored, settled);
        let plan = plan::plan(&observed, now);
        self.execute(key, &stored, &observed, plan, now).await
    }
}

impl<K: Replicating> ReplicaSets<K> {
    fn observe(&self, key: &Key, stored: &Arc<K>, settled: bool) -> plan::Observed {
        let meta = stored.meta();
        let mut pods = self.control.pods.controlled_by(meta.uid.as_deref().unwrap_or_default());
        pods.extend(self.control.pods.orphans_in(&key.namespace));
        let related = match controller_of(meta) {
            Some(owner) => self
                .sets
                .controlled_by(&owner.uid)
                .iter()
                .flat_map(|sibling| {
                    self.control.pods.controlled_by(sibling.meta().uid.as_deref().unwrap_or_default())
                })
                .collect(),
            None => Vec::new(),
        };
        let reference = controller_reference(&**stored);
        plan::Observed { set: K::as_set(stored), reference, pods, related, settled }
    }
}
