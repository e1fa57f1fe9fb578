//! What a DaemonSet needs done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy},
        core::v1::{Node, Pod, Toleration},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{HASH_LABEL, node};
use crate::pod;

/// Pods created or deleted in one go.
const BURST: usize = 250;

/// A DaemonSet, the nodes, and its pods on them.
pub(super) struct Observed {
    pub(super) set: Arc<DaemonSet>,
    pub(super) nodes: Vec<Arc<Node>>,
    /// By the node that they are on or meant for, the oldest first.
    pub(super) pods: BTreeMap<String, Vec<Arc<Pod>>>,
    /// That of the newest revision.
    pub(super) hash: String,
    /// All that was created and deleted before shows in `pods`.
    pub(super) settled: bool,
    /// For how long failed pods on these nodes stay.
    pub(super) waits: BTreeMap<String, Duration>,
}

/// What to do.
#[derive(Default)]
pub(super) struct Plan {
    /// The nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods among those to delete that have ended, with their nodes.
    pub(super) ended: Vec<(String, Arc<Pod>)>,
    /// When to look again at failed pods that stay for now.
    pub(super) retry: Option<Duration>,
}

impl Plan {
    fn bounded(mut self) -> Self {
        self.create.truncate(BURST);
        self.delete.truncate(BURST);
        self
    }
}

/// Decides what `observed` needs: first that each node has its pod, then that
/// pods are of the newest revision.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if !observed.settled {
        return Plan::default();
    }
    let spec = &observed.set.spec;
    let mut plan = place(observed, spec, now);
    let rolling = spec.update_strategy.as_ref().is_none_or(|it| it.type_.as_deref() != Some("OnDelete"));
    if plan.create.is_empty() && plan.delete.is_empty() && rolling {
        let retry = plan.retry;
        plan = match limit(spec, |it| it.rolling_update.as_ref()?.max_surge.clone(), 0, desired(observed)) {
            0 => replace(observed, spec, now),
            surge => surge_over(observed, spec, surge, now),
        };
        plan.retry = retry;
    }
    plan.bounded()
}

pub(super) fn tolerations(spec: &DaemonSetSpec) -> Vec<Toleration> {
    spec.template.spec.as_ref().map(node::tolerations).unwrap_or_default()
}

fn place(observed: &Observed, spec: &DaemonSetSpec, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let tolerations = tolerations(spec);
    let surges = limit(spec, |it| it.rolling_update.as_ref()?.max_surge.clone(), 0, 1) > 0;
    for node in &observed.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let fit = node::fit(&observed.set, &tolerations, node);
        let pods = observed.pods.get(name).map(Vec::as_slice).unwrap_or_default();
        if fit.run && pods.is_empty() {
            plan.create.push(name.to_owned());
        } else if !fit.go_on {
            plan.delete.extend(pods.iter().filter(|it| it.metadata.deletion_timestamp.is_none()).cloned());
        } else {
            let running = end(observed, name, pods, &mut plan);
            if surges {
                prune_surge(observed, spec, &running, &mut plan, now);
                if running.is_empty() && fit.run {
                    plan.create.push(name.to_owned());
                }
            } else {
                plan.delete.extend(running.into_iter().skip(1));
            }
        }
    }
    plan.delete.extend(nowhere(observed));
    plan
}

// Deletes what has ended, and gives the others.
fn end(observed: &Observed, node: &str, pods: &[Arc<Pod>], plan: &mut Plan) -> Vec<Arc<Pod>> {
    let mut running = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        match (pod::phase(pod), observed.waits.get(node)) {
            ("Failed", Some(wait)) => plan.retry = Some(plan.retry.map_or(*wait, |it| it.min(*wait))),
            ("Failed" | "Succeeded", _) => {
                plan.ended.push((node.to_owned(), pod.clone()));
                plan.delete.push(pod.clone());
            }
            _ => running.push(pod.clone()),
        }
    }
    running
}

// A surging set has two pods on a node while the old is ready and the new is not yet.
fn prune_surge(
    observed: &Observed,
    spec: &DaemonSetSpec,
    running: &[Arc<Pod>],
    plan: &mut Plan,
    now: Timestamp,
) {
    if running.len() <= 1 {
        return;
    }
    let (new, old): (Vec<_>, Vec<_>) = running.iter().partition(|pod| is_new(observed, pod));
    plan.delete.extend(
        new.iter()
            .chain(old.iter())
            .skip(0)
            .filter(|pod| {
                let first = |of: &[&Arc<Pod>]| of.first().is_some_and(|it| Arc::ptr_eq(it, pod));
                !first(&new) && !first(&old)
            })
            .map(|pod| (*pod).clone()),
    );
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pod::is_ready(old) || pod::is_available(new, spec.min_ready_seconds.unwrap_or(0), now))
    {
        plan.delete.push((*old).clone());
    }
}

// Pods that wait for nodes that are gone: nobody else deletes them.
fn nowhere(observed: &Observed) -> impl Iterator<Item = Arc<Pod>> {
    let known = |name: &str| observed.nodes.iter().any(|node| node.metadata.name.as_deref() == Some(name));
    let lost = observed.pods.iter().filter(move |(node, _)| !known(node));
    lost.flat_map(|(_, pods)| pods).filter(|pod| pod::node(pod).is_none()).cloned()
}

pub(super) fn is_new(observed: &Observed, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH_LABEL)) == Some(&observed.hash)
}

// The pods of a node, of the newest revision and of another, unless there are
// too many: then they are put in order first.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

fn pair<'a>(observed: &Observed, pods: &'a [Arc<Pod>]) -> Option<Pair<'a>> {
    let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| is_new(observed, pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

// Old pods go as far as enough others are available.
fn replace(observed: &Observed, spec: &DaemonSetSpec, now: Timestamp) -> Plan {
    let may = limit(spec, |it| it.rolling_update.as_ref()?.max_unavailable.clone(), 1, desired(observed));
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let (mut unavailable, mut broken, mut candidates) = (0, Vec::new(), Vec::new());
    for pods in observed.pods.values() {
        match pair(observed, pods) {
            Some((None, Some(old))) if pod::is_available(old, min_ready, now) => candidates.push(old.clone()),
            Some((None, Some(old))) => {
                broken.push(old.clone());
                unavailable += 1;
            }
            Some((Some(new), None)) if pod::is_available(new, min_ready, now) => {}
            _ => unavailable += 1,
        }
    }
    candidates.truncate(may.saturating_sub(unavailable));
    broken.extend(candidates);
    Plan { delete: broken, ..Plan::default() }
}

// New pods come beside old ones, which go when the new are available.
fn surge_over(observed: &Observed, spec: &DaemonSetSpec, surge: usize, now: Timestamp) -> Plan {
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let tolerations = tolerations(spec);
    let available = |pod: &Arc<Pod>| pod::is_available(pod, min_ready, now);
    let runs = |name: &str| {
        let node = observed.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name));
        node.is_some_and(|node| node::fit(&observed.set, &tolerations, node).run)
    };
    let (mut surging, mut ready) = (0, 0);
    let (mut plan, mut candidates, mut sunset) = (Plan::default(), Vec::new(), Vec::new());
    for (name, pods) in &observed.pods {
        let Some((new, old)) = pair(observed, pods) else {
            surging += 1;
            continue;
        };
        ready += usize::from(old.or(new).is_some_and(available));
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (available(old), runs(name)) {
                (false, false) => plan.delete.push(old.clone()),
                (false, true) => plan.create.push(name.clone()),
                (true, false) => sunset.push(old.clone()),
                (true, true) => candidates.push(name.clone()),
            },
            (Some(new), Some(old)) if available(new) => plan.delete.push(old.clone()),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    sunset.truncate(ready.saturating_sub(desired(observed)));
    plan.delete.extend(sunset);
    candidates.truncate(surge.saturating_sub(surging));
    plan.create.extend(candidates);
    plan
}

/// How many nodes are to have a pod.
pub(super) fn desired(observed: &Observed) -> usize {
    let spec = &observed.set.spec;
    let tolerations = tolerations(spec);
    observed.nodes.iter().filter(|node| node::fit(&observed.set, &tolerations, node).run).count()
}

// A number or a share of `of`, which counts up.
fn limit(
    spec: &DaemonSetSpec,
    get: impl Fn(&DaemonSetUpdateStrategy) -> Option<IntOrString>,
    default: usize,
    of: usize,
) -> usize {
    match spec.update_strategy.as_ref().and_then(get) {
        None => default,
        Some(IntOrString::Int(number)) => usize::try_from(number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let share: usize = text.strip_suffix('%').and_then(|it| it.parse().ok()).unwrap_or(0);
            (share * of).div_ceil(100)
        }
    }
}
