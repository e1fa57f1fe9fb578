//! Rolls a Deployment's template out through ReplicaSets.
//!
//! Start at [`plan::plan`]. Everything a deployment needs is decided on a
//! working copy of what was observed, then written: each ReplicaSet at most
//! once, and the deployment's status once, at the end.

mod execute;
mod plan;
mod revision;
mod rollout;
mod scale;
mod status;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::Client;

use crate::{
    framework::{
        Change, Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Store, Style, controller_of,
        matches,
    },
    pod,
};

const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let deployments = setup.reflect::<Deployment>();
    let sets = setup.reflect::<ReplicaSet>();
    let pods = setup.reflect::<Pod>();
    let queue = Queue::new();
    let on_deployment = queue.clone();
    deployments.on_change(move |change| {
        if let Some(deployment) = change.sides().last() {
            on_deployment.add(Key::of(&deployment.metadata));
        }
    });
    let (on_set, known) = (queue.clone(), deployments.store());
    sets.on_change(move |change| {
        for key in concerned(change, &known) {
            on_set.add(key);
        }
    });
    let (on_pod, known, known_sets) = (queue.clone(), deployments.store(), sets.store());
    pods.on_change(move |change| {
        if let Some(key) = recreated(change, &known, &known_sets) {
            on_pod.add(key);
        }
    });
    let controller = Deployments {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("deployment-controller", Style::Counted),
        deployments: deployments.store(),
        sets: sets.store(),
        pods: pods.store(),
    };
    setup.reconcile("deployment-controller", queue, WORKERS, controller);
}

/// The deployments that a change of a ReplicaSet may concern.
fn concerned(change: &Change<'_, ReplicaSet>, deployments: &Store<Deployment>) -> Vec<Key> {
    let mut keys: Vec<Key> = change
        .controllers()
        .filter(|(kind, ..)| *kind == "Deployment")
        .map(|(_, name, namespace)| Key::namespaced(namespace, name))
        .collect();
    if let Some(set) = change.after
        && controller_of(&set.metadata).is_none()
        && change.relabelled()
    {
        let candidates = deployments.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default());
        keys.extend(
            candidates
                .iter()
                .filter(|d| matches(&d.spec.selector, set.metadata.labels.as_ref()))
                .map(|d| Key::of(&d.metadata)),
        );
    }
    keys.dedup();
    keys
}

/// The deployment that waits, before it starts new pods, for this one to end.
fn recreated(
    change: &Change<'_, Pod>,
    deployments: &Store<Deployment>,
    sets: &Store<ReplicaSet>,
) -> Option<Key> {
    if change.after.is_some_and(|pod| !pod::is_terminal(pod)) {
        return None;
    }
    let (kind, name, namespace) = change.controllers().next()?;
    let set = sets.get(&Key::namespaced(namespace, name)).filter(|_| kind == "ReplicaSet")?;
    let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
    let deployment = deployments.get(&Key::namespaced(namespace, &owner.name))?;
    let strategy = deployment.spec.strategy.as_ref().and_then(|s| s.type_.as_deref());
    (strategy == Some("Recreate")).then(|| Key::of(&deployment.metadata))
}

struct Deployments {
    client: Client,
    clock: Clock,
    events: Recorder,
    deployments: Arc<Store<Deployment>>,
    sets: Arc<Store<ReplicaSet>>,
    pods: Arc<Store<Pod>>,
}

impl Reconcile<Key> for Deployments {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(observed) = self.observe(key) else { return Ok(Next::Change) };
        let plan = plan::plan(&observed, self.clock.now())?;
        self.execute(key, &observed, plan).await
    }
}

impl Deployments {
    fn observe(&self, key: &Key) -> Option<plan::Observed> {
        let deployment = self.deployments.get(key)?;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let mut sets = self.sets.controlled_by(uid);
        sets.extend(self.sets.orphans_in(&key.namespace));
        let pods = sets
            .iter()
            .flat_map(|set| self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default()))
            .collect();
        Some(plan::Observed { deployment, sets, pods })
    }
}
