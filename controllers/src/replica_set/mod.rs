//! Keeps as many pods as a ReplicaSet asks for.
//!
//! Start at [`plan::plan`].

mod execute;
mod plan;
mod ranking;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::Client;

use crate::framework::{
    Change, Clock, Error, Expectations, Key, Next, Queue, Reconcile, Recorder, Setup, Store, Style,
    controller_of, matches,
};

const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let sets = setup.reflect::<ReplicaSet>();
    let pods = setup.reflect::<Pod>();
    let queue = Queue::new();
    let on_set = queue.clone();
    sets.on_change(move |change| {
        if let Some(set) = change.sides().last() {
            on_set.add(Key::of(&set.metadata));
        }
    });
    let (on_pod, known) = (queue.clone(), sets.store());
    pods.on_change(move |change| {
        for key in concerned(change, &known) {
            on_pod.add(key);
        }
    });
    let controller = ReplicaSets {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("replicaset-controller", Style::Counted),
        sets: sets.store(),
        pods: pods.store(),
        expectations: Expectations::default(),
    };
    setup.reconcile("replicaset-controller", queue, WORKERS, controller);
}

/// The sets that a change of a pod may concern: its owners before and after,
/// or, when it has none, those that could adopt it.
fn concerned(change: &Change<'_, Pod>, sets: &Store<ReplicaSet>) -> Vec<Key> {
    let mut keys: Vec<Key> = change
        .controllers()
        .filter(|(kind, ..)| *kind == "ReplicaSet")
        .map(|(_, name, namespace)| Key::namespaced(namespace, name))
        .collect();
    if let Some(pod) = change.after
        && controller_of(&pod.metadata).is_none()
        && change.relabelled()
    {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let candidates = sets.in_namespace(namespace);
        keys.extend(
            candidates
                .iter()
                .filter(|set| matches(&set.spec.selector, pod.metadata.labels.as_ref()))
                .map(|set| Key::of(&set.metadata)),
        );
    }
    keys.dedup();
    keys
}

struct ReplicaSets {
    client: Client,
    clock: Clock,
    events: Recorder,
    sets: Arc<Store<ReplicaSet>>,
    pods: Arc<Store<Pod>>,
    expectations: Expectations,
}

impl Reconcile<Key> for ReplicaSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let now = self.clock.now();
        let Some(observed) = self.observe(key, now) else {
            self.expectations.forget(key);
            return Ok(Next::Change);
        };
        let plan = plan::plan(&observed, now);
        self.execute(key, &observed, plan, now).await
    }
}

impl ReplicaSets {
    fn observe(&self, key: &Key, now: jiff::Timestamp) -> Option<plan::Observed> {
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.expectations.satisfied(key, &self.pods, now);
        let set = self.sets.get(key)?;
        let mut pods = self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.extend(self.pods.orphans_in(&key.namespace));
        let related = match controller_of(&set.metadata) {
            Some(owner) => self
                .sets
                .controlled_by(&owner.uid)
                .iter()
                .flat_map(|sibling| {
                    self.pods.controlled_by(sibling.metadata.uid.as_deref().unwrap_or_default())
                })
                .collect(),
            None => Vec::new(),
        };
        Some(plan::Observed { set, pods, related, settled })
    }
}
