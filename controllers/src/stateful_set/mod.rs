//! Keeps pods that have a name, a place in an order, and claims of their own.
//!
//! Start at [`plan::plan`]. A reconcile goes in two steps: which revision the
//! pods are to have ([`revision::turn`]), and what they need for that.

mod execute;
mod identity;
mod plan;
mod retention;
mod revision;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::Client;

use crate::{
    framework::{
        Clock, Error, Expectations, Key, Next, Queue, Reconcile, Recorder, Setup, Store, Style, matches,
    },
    pod_control::concerned,
};

const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let sets = setup.reflect::<StatefulSet>();
    let pods = setup.reflect::<Pod>();
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let revisions = setup.reflect::<ControllerRevision>();
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
    let controller = StatefulSets {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("statefulset-controller", Style::Counted),
        sets: sets.store(),
        pods: pods.store(),
        claims: claims.store(),
        revisions: revisions.store(),
        expectations: Expectations::default(),
    };
    setup.reconcile("statefulset-controller", queue, WORKERS, controller);
}

struct StatefulSets {
    client: Client,
    clock: Clock,
    events: Recorder,
    sets: Arc<Store<StatefulSet>>,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    revisions: Arc<Store<ControllerRevision>>,
    expectations: Expectations,
}

impl Reconcile<Key> for StatefulSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let now = self.clock.now();
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.expectations.satisfied(key, &self.pods, now);
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Change);
        };
        if !settled {
            return Ok(Next::After(execute::UNSETTLED));
        }
        let revisions = self.claim_revisions(&set).await?;
        let pods = self.claim_pods(key, &set).await?;
        let editions = self.editions(&set, &revisions).await?;
        let claims = self.claims_of(&set, &pods);
        let observed = plan::Observed { set, pods, claims };
        let plan = plan::plan(&observed, &editions, now);
        let used = [editions.current.name.clone(), editions.update.name.clone()];
        let done = self.execute(key, &observed, plan, now).await;
        let kept = self.truncate(&observed, &revisions, [&used[0], &used[1]]).await;
        let next = done?;
        kept.map(|()| next)
    }
}

impl StatefulSets {
    /// The claims of the pods that are there or are to be.
    fn claims_of(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> HashMap<String, Arc<PersistentVolumeClaim>> {
        if set.spec.volume_claim_templates.iter().flatten().next().is_none() {
            return HashMap::new();
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let there = pods.iter().filter_map(|pod| identity::ordinal(pod));
        // No more than these can be made at once.
        let asked = identity::range(set).take(pods.len() + plan::BURST).filter_map(|n| i32::try_from(n).ok());
        there
            .chain(asked)
            .flat_map(|ordinal| identity::claim_names(set, ordinal))
            .filter_map(|name| {
                let claim = self.claims.get(&Key::namespaced(namespace, &name))?;
                Some((name, claim))
            })
            .collect()
    }
}
