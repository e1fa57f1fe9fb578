//! What a DaemonSet needs done.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};

use super::{
    daemon::{self, Place, Places},
    rollout,
};
use crate::{
    framework::Severity,
    history::REVISION_LABEL,
    pod,
    portion::{Round, scaled},
};

/// Pods created, and pods deleted, in one go.
const BURST: usize = 250;

/// A set, its pods and all nodes.
pub(super) struct Observed {
    pub(super) set: Arc<DaemonSet>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) nodes: Vec<Arc<Node>>,
    /// The hash of the revision that the set's template is.
    pub(super) hash: String,
    /// All that was created and deleted before shows in `pods`.
    pub(super) settled: bool,
    /// The nodes on which failed pods are left for a while, and how long.
    pub(super) waiting: HashMap<String, Duration>,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that are to get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) notes: Vec<Note>,
    /// Nodes of which a failed pod is deleted.
    pub(super) failed: BTreeSet<String>,
    /// Look again after this long.
    pub(super) again: Option<Duration>,
}

impl Plan {
    pub(super) fn look_again(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |again| again.min(after)));
    }
}

/// Something to tell about the set.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The pods of a set by the node that they are on or are for.
pub(super) type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// The nodes, with what the set may do there, and its pods.
pub(super) struct Field<'a> {
    pub(super) observed: &'a Observed,
    pub(super) set: &'a DaemonSet,
    pub(super) places: BTreeMap<&'a str, Place>,
    pub(super) pods: ByNode,
    pub(super) now: Timestamp,
}

impl<'a> Field<'a> {
    pub(super) fn of(observed: &'a Observed, now: Timestamp) -> Self {
        let set = &*observed.set;
        let places = Places::of(set);
        let places = observed
            .nodes
            .iter()
            .filter_map(|node| Some((node.metadata.name.as_deref()?, places.on(node))))
            .collect();
        let mut pods = ByNode::new();
        // What has ended and is being deleted is as good as gone.
        for pod in observed.pods.iter().filter(|pod| !(pod::is_terminal(pod) && is_ending(pod))) {
            let Some(node) = daemon::node(pod) else { continue };
            pods.entry(node.to_owned()).or_default().push(pod.clone());
        }
        pods.values_mut().for_each(|pods| pods.sort_by(|a, b| daemon::by_seniority(a, b)));
        Self { observed, set, places, pods, now }
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        pod::is_available(pod, self.set.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        daemon::is_updated(self.set, pod, &self.observed.hash)
    }

    /// How many nodes are to have a pod.
    pub(super) fn desired(&self) -> usize {
        self.places.values().filter(|place| **place == Place::Runs).count()
    }

    /// How many pods more than that, and how many less, an update may have.
    pub(super) fn margins(&self) -> (usize, usize) {
        let desired = self.desired();
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.filter(|strategy| strategy.type_.as_deref() == Some("RollingUpdate"));
        let rolling = rolling.and_then(|strategy| strategy.rolling_update.as_ref());
        let count = |value| {
            let total = i32::try_from(desired).unwrap_or(i32::MAX);
            usize::try_from(scaled(value, total, Round::Up)).unwrap_or(0)
        };
        let surge = count(rolling.and_then(|rolling| rolling.max_surge.as_ref()));
        let unavailable = count(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
        // Both can be zero, and then nothing would ever move.
        if desired > 0 && surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn allows_surge(&self) -> bool {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.filter(|strategy| strategy.type_.as_deref() == Some("RollingUpdate"));
        let surge = rolling.and_then(|it| it.rolling_update.as_ref()).and_then(|it| it.max_surge.as_ref());
        scaled(surge, 1, Round::Up) > 0
    }
}

/// Decides what the set needs: a pod where it may run, and none elsewhere;
/// and when all that is so, the next pods that an update replaces.
pub(super) fn plan(field: &Field<'_>) -> Plan {
    let mut plan = Plan::default();
    if !field.observed.settled {
        return plan;
    }
    for (node, place) in &field.places {
        let pods = field.pods.get(*node);
        match (place, pods) {
            (Place::Runs, None) => plan.create.push((*node).to_owned()),
            (_, None) => {}
            (Place::Leaves, Some(pods)) => {
                plan.delete.extend(pods.iter().filter(|pod| !is_ending(pod)).cloned());
            }
            (_, Some(pods)) => keep(field, node, *place == Place::Runs, pods, &mut plan),
        }
    }
    for (node, pods) in &field.pods {
        // The node is gone before the pod came to it.
        if !field.places.contains_key(node.as_str()) {
            plan.delete.extend(pods.iter().filter(|pod| pod::node(pod).is_none()).cloned());
        }
    }
    let strategy = field.set.spec.update_strategy.as_ref().and_then(|it| it.type_.as_deref());
    if plan.create.is_empty() && plan.delete.is_empty() && strategy == Some("RollingUpdate") {
        rollout::roll(field, &mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

/// Leaves one pod on a node where pods may be, or two where an update wants so.
fn keep(field: &Field<'_>, node: &str, runs: bool, pods: &[Arc<Pod>], plan: &mut Plan) {
    let mut running = Vec::new();
    for pod in pods.iter().filter(|pod| !is_ending(pod)) {
        match pod::phase(pod) {
            "Failed" => replace_failed(field, node, pod, plan),
            "Succeeded" => {
                note(plan, Severity::Normal, "SucceededDaemonPod", "succeeded", "delete", pod, node);
                plan.delete.push(pod.clone());
            }
            _ => running.push(pod),
        }
    }
    if !field.allows_surge() {
        plan.delete.extend(running.into_iter().skip(1).cloned());
        return;
    }
    if running.is_empty() && runs {
        plan.create.push(node.to_owned());
    }
    if running.len() < 2 {
        return;
    }
    let is_new = |pod: &Pod| {
        pod.metadata.labels.as_ref().and_then(|it| it.get(REVISION_LABEL)) == Some(&field.observed.hash)
    };
    let (mut new, mut old) = (None, None);
    for pod in running {
        let first = if is_new(pod) { &mut new } else { &mut old };
        if first.is_some() {
            plan.delete.push(pod.clone());
        } else {
            *first = Some(pod);
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!pod::is_ready(old) || field.is_available(new))
    {
        plan.delete.push(old.clone());
    }
}

/// Deletes a failed pod, unless others failed on this node just before.
fn replace_failed(field: &Field<'_>, node: &str, pod: &Arc<Pod>, plan: &mut Plan) {
    if let Some(left) = field.observed.waiting.get(node) {
        plan.look_again(*left);
        return;
    }
    if !plan.failed.insert(node.to_owned()) {
        plan.look_again(Duration::from_secs(1));
        return;
    }
    note(plan, Severity::Warning, "FailedDaemonPod", "failed", "kill", pod, node);
    plan.delete.push(pod.clone());
}

fn note(
    plan: &mut Plan,
    severity: Severity,
    reason: &'static str,
    how: &str,
    what: &str,
    pod: &Pod,
    node: &str,
) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Found {how} daemon pod {namespace}/{name} on node {node}, will try to {what} it");
    plan.notes.push(Note { severity, reason, message });
}

pub(super) fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
