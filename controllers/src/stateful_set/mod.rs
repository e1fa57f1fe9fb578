//! Keeps the numbered pods of a StatefulSet, each with its own claims.
//!
//! Start at [`plan::plan`].

mod claims;
mod execute;
mod plan;
mod replica;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::Client;

use crate::{
    framework::{
        Change, Clock, Controller, Error, Expectations, Key, Next, Queue, Reconcile, Recorder, Reflected,
        Setup, Store, Style, claim, controller_of, controller_reference, matches, patch_claims,
    },
    history::{self, History, Settled, Wanted},
};

const WORKERS: usize = 5;
const REVISION_LABEL: &str = "controller.kubernetes.io/hash";

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
    pods.on_change(move |change| on_pod.extend(concerned(change, &known)));
    let (on_revision, known) = (queue.clone(), sets.store());
    revisions.on_change(move |change| on_revision.extend(concerned(change, &known)));
    let controller = StatefulSets {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("statefulset-controller", Style::Counted),
        sets: sets.store(),
        pods: pods.store(),
        claims: claims.store(),
        history: History {
            client: setup.client.clone(),
            revisions: revisions.store(),
            label: REVISION_LABEL,
            annotated: true,
        },
        expectations: Expectations::default(),
    };
    setup.reconcile("statefulset-controller", queue, WORKERS, controller);
}

/// The sets that a change of what they own may concern, or that could adopt it.
fn concerned<K: Reflected>(change: &Change<'_, K>, sets: &Store<StatefulSet>) -> Vec<Key> {
    let owners = change.controllers().filter(|(kind, ..)| *kind == "StatefulSet");
    let mut keys: Vec<Key> = owners.map(|(_, name, namespace)| Key::namespaced(namespace, name)).collect();
    if let Some(object) = change.after
        && controller_of(object.meta()).is_none()
        && change.relabelled()
    {
        let candidates = sets.in_namespace(object.meta().namespace.as_deref().unwrap_or_default());
        let selects = |set: &Arc<StatefulSet>| matches(&set.spec.selector, object.meta().labels.as_ref());
        keys.extend(candidates.iter().filter(|set| selects(set)).map(|set| Key::of(&set.metadata)));
    }
    keys.dedup();
    keys
}

struct StatefulSets {
    client: Client,
    clock: Clock,
    events: Recorder,
    sets: Arc<Store<StatefulSet>>,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    history: History,
    expectations: Expectations,
}

impl Reconcile<Key> for StatefulSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.expectations.satisfied(key, &self.pods, self.clock.now());
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Change);
        };
        if !settled {
            return Ok(Next::After(execute::UNSETTLED));
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let spec = &set.spec;
        let wanted = Wanted { template: &spec.template, selector: &spec.selector, collisions };
        let history = self.history.settle(&*set, &wanted).await?;
        let pods = self.pods_of(&set).await?;
        let observed = self.observe(set, pods, &history);
        self.execute(key, &observed, &history).await
    }
}

impl StatefulSets {
    async fn pods_of(&self, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, Error> {
        let meta = &set.metadata;
        let mut candidates = self.pods.controlled_by(meta.uid.as_deref().unwrap_or_default());
        candidates.extend(self.pods.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
        let reference = controller_reference(set);
        let ending = meta.deletion_timestamp.is_some();
        let controller = Controller { reference: &reference, selector: &set.spec.selector, ending };
        // Only pods of the set's own names are adopted.
        let claims = claim(&controller, candidates, |pod| replica::ordinal(set, pod).is_some());
        patch_claims(&self.client, set, &reference, &claims.changes).await?;
        Ok(claims.owned)
    }

    fn observe(&self, set: Arc<StatefulSet>, pods: Vec<Arc<Pod>>, history: &Settled) -> plan::Observed {
        let revision = |of: &ControllerRevision| plan::Revision {
            name: of.metadata.name.clone().unwrap_or_default(),
            template: history::template(of).unwrap_or_else(|| set.spec.template.clone()),
        };
        let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = current.and_then(|name| history.named(name)).unwrap_or(&history.newest);
        let (current, update) = (revision(current), revision(&history.newest));
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let templates = set.spec.volume_claim_templates.as_ref();
        let claims: BTreeMap<_, _> = match templates.is_none_or(Vec::is_empty) {
            true => BTreeMap::new(),
            false => {
                let all = self.claims.in_namespace(namespace).into_iter();
                all.filter_map(|claim| Some((claim.metadata.name.clone()?, claim))).collect()
            }
        };
        plan::Observed { set, pods, claims, current, update }
    }
}
