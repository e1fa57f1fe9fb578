//! Keeps one pod of a DaemonSet on each node that is to have one.
//!
//! Start at [`plan::plan`].

mod execute;
mod node;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::Client;
use parking_lot::Mutex;

use crate::{
    framework::{
        Change, Claims, Controller, Error, Expectations, Key, Next, Queue, Reconcile, Setup, Severity, Store,
        Style, claim, controller_of, controller_reference, matches, patch_claims,
    },
    history::{History, Wanted},
    pod_control::PodControl,
};

const WORKERS: usize = 2;
/// The label by which a pod tells which revision it is of.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let sets = setup.reflect::<DaemonSet>();
    let pods = setup.reflect::<Pod>();
    let nodes = setup.reflect::<Node>();
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
    let (on_node, known) = (queue.clone(), sets.store());
    nodes.on_change(move |change| {
        if node::changed(change) {
            on_node.extend(known.all().iter().map(|set| Key::of(&set.metadata)));
        }
    });
    let controller = DaemonSets {
        client: setup.client.clone(),
        sets: sets.store(),
        nodes: nodes.store(),
        history: History {
            client: setup.client.clone(),
            revisions: revisions.store(),
            label: HASH_LABEL,
            annotated: true,
        },
        control: PodControl {
            client: setup.client.clone(),
            clock: setup.clock.clone(),
            events: setup.recorder("daemonset-controller", Style::Counted),
            pods: pods.store(),
            expectations: Expectations::default(),
        },
        failed: Mutex::default(),
    };
    setup.reconcile("daemonset-controller", queue, WORKERS, controller);
}

/// The sets that a change of what they own may concern, or that could adopt it.
fn concerned<K>(change: &Change<'_, K>, sets: &Store<DaemonSet>) -> Vec<Key>
where
    K: crate::framework::Reflected,
{
    let owners = change.controllers().filter(|(kind, ..)| *kind == "DaemonSet");
    let mut keys: Vec<Key> = owners.map(|(_, name, namespace)| Key::namespaced(namespace, name)).collect();
    if let Some(object) = change.after
        && controller_of(object.meta()).is_none()
        && change.relabelled()
    {
        let candidates = sets.in_namespace(object.meta().namespace.as_deref().unwrap_or_default());
        let selects = |set: &Arc<DaemonSet>| matches(selector(set), object.meta().labels.as_ref());
        keys.extend(candidates.iter().filter(|set| selects(set)).map(|set| Key::of(&set.metadata)));
    }
    keys.dedup();
    keys
}

fn selector(set: &DaemonSet) -> &LabelSelector {
    &set.spec.selector
}

struct DaemonSets {
    client: Client,
    sets: Arc<Store<DaemonSet>>,
    nodes: Arc<Store<Node>>,
    history: History,
    control: PodControl,
    // When a failed pod of a set on a node was last deleted, and how long the next has to wait.
    failed: Mutex<HashMap<(String, String), (Timestamp, Duration)>>,
}

impl Reconcile<Key> for DaemonSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.control.settled(key);
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(Next::Change);
        };
        let spec = &set.spec;
        if *selector(&set) == LabelSelector::default() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.events.event(&*set, Severity::Warning, "SelectingAll", text);
            return Ok(Next::Change);
        }
        // Who cleans up after it does it without us.
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let wanted = Wanted { template: &spec.template, selector: &spec.selector, collisions };
        let history = self.history.settle(&*set, &wanted).await?;
        let pods = self.pods(&set).await?;
        let observed = plan::Observed {
            nodes: self.nodes.all(),
            pods: node::by_node(&pods),
            hash: self.history.hash_of(&history.newest).to_owned(),
            settled,
            waits: self.waits(&set),
            set,
        };
        self.execute(key, &observed, &history, &pods).await
    }
}

impl DaemonSets {
    async fn pods(&self, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, Error> {
        let meta = &set.metadata;
        let store = &self.control.pods;
        let mut candidates = store.controlled_by(meta.uid.as_deref().unwrap_or_default());
        candidates.extend(store.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
        let reference = controller_reference(set);
        let controller = Controller { reference: &reference, selector: selector(set), ending: false };
        let Claims { owned, changes } = claim(&controller, candidates, |_| true);
        patch_claims(&self.client, set, &reference, &changes).await?;
        Ok(owned)
    }

    // For how long nodes have to wait until a failed pod on them is deleted.
    fn waits(&self, set: &DaemonSet) -> BTreeMap<String, Duration> {
        let now = self.control.clock.now();
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut failed = self.failed.lock();
        failed.retain(|_, (at, wait)| now.duration_since(*at).unsigned_abs() < *wait * 2);
        let left =
            failed.iter().filter(|((owner, _), _)| owner == uid).filter_map(|((_, node), (at, wait))| {
                let left = wait.checked_sub(now.duration_since(*at).unsigned_abs())?;
                Some((node.clone(), left))
            });
        left.collect()
    }
}
