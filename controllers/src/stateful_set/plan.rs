//! What a StatefulSet needs done.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetUpdateStrategy},
        core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{claims, replica};
use crate::pod;

/// A revision of the template.
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// A StatefulSet and what is around it.
pub(super) struct Observed {
    pub(super) set: Arc<StatefulSet>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// The namespace's claims, by name.
    pub(super) claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    pub(super) current: Revision,
    pub(super) update: Revision,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Create the pod, after its claims.
    Create(i32, Box<Pod>),
    /// Create the claims that a pending pod lacks.
    Claims(i32, Arc<Pod>),
    /// Make the pod and the owners of its claims as they must be.
    Mend(i32, Arc<Pod>),
    /// Delete the pod.
    Delete(Arc<Pod>),
}

/// What to do, in order. The first that fails ends it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// How many pods of the current revision go for an update.
    pub(super) outdated: i32,
}

struct Replica {
    ordinal: i32,
    pod: Option<Arc<Pod>>,
}

/// Decides what `observed` needs.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let set = &observed.set;
    let mut plan = Plan::default();
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let (replicas, condemned) = sort(observed);
    let ordered = set.spec.pod_management_policy.as_deref() != Some("Parallel");
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let mut waits = false;
    for replica in &replicas {
        waits |= keep(observed, replica, ordered, now, &mut plan);
        if waits && ordered {
            return plan;
        }
    }
    if waits {
        return plan;
    }
    for (ordinal, pod) in &condemned {
        if is_misowned(observed, pod, *ordinal) {
            plan.steps.push(Step::Mend(*ordinal, pod.clone()));
        }
    }
    let available = |pod: &Pod| !is_unavailable(pod, min_ready, now);
    let mut all =
        replicas.iter().filter_map(|it| it.pod.as_ref()).chain(condemned.iter().rev().map(|(_, pod)| pod));
    let unhealthy = all.find(|pod| !available(pod)).cloned();
    let is_first = |pod: &Arc<Pod>| unhealthy.as_ref().is_some_and(|it| Arc::ptr_eq(it, pod));
    for (_, pod) in &condemned {
        let ending = pod.metadata.deletion_timestamp.is_some();
        if !ending && (!ordered || available(pod) || is_first(pod)) {
            plan.steps.push(Step::Delete(pod.clone()));
        }
        if ordered {
            return plan;
        }
    }
    if condemned.iter().any(|(_, pod)| pod.metadata.deletion_timestamp.is_none()) {
        return plan;
    }
    roll(observed, &replicas, min_ready, now, &mut plan);
    plan
}

// The pods that are to be, by number, and those that are not, the highest first.
fn sort(observed: &Observed) -> (Vec<Replica>, Vec<(i32, Arc<Pod>)>) {
    let set = &observed.set;
    let mut known: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    for pod in &observed.pods {
        if let Some(ordinal) = replica::ordinal(set, pod) {
            known.insert(ordinal, pod.clone());
        }
    }
    let first = replica::first(set);
    let wanted = first..first.saturating_add(replica::count(set));
    let replicas = wanted.map(|ordinal| Replica { ordinal, pod: known.remove(&ordinal) }).collect();
    (replicas, known.into_iter().rev().collect())
}

fn is_unavailable(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    !pod::is_available(pod, min_ready, now) || pod.metadata.deletion_timestamp.is_some()
}

// Keeps one pod; true when the others have to wait for it.
fn keep(observed: &Observed, replica: &Replica, ordered: bool, now: Timestamp, plan: &mut Plan) -> bool {
    let (set, ordinal) = (&observed.set, replica.ordinal);
    let Some(pod) = &replica.pod else {
        let made = replica::new(set, revision_for(observed, ordinal), ordinal);
        let stale = |(_, claim): &(String, PersistentVolumeClaim)| {
            let known = observed.claims.get(claim.metadata.name.as_deref().unwrap_or_default());
            known.is_some_and(|known| claims::is_stale(set, known, &made))
        };
        if !replica::claims(set, ordinal).iter().any(stale) {
            plan.steps.push(Step::Create(ordinal, Box::new(made)));
        }
        return true;
    };
    let ending = pod.metadata.deletion_timestamp.is_some();
    if pod::is_terminal(pod) {
        if !ending {
            plan.steps.push(Step::Delete(pod.clone()));
        }
        return true;
    }
    if pod::phase(pod) == "Pending" && lacks_claims(observed, ordinal) {
        plan.steps.push(Step::Claims(ordinal, pod.clone()));
    }
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    if ordered && (ending || !pod::is_available(pod, min_ready, now)) {
        return true;
    }
    if replica::mended(set, pod, ordinal).is_some() || is_misowned(observed, pod, ordinal) {
        plan.steps.push(Step::Mend(ordinal, pod.clone()));
    }
    false
}

fn lacks_claims(observed: &Observed, ordinal: i32) -> bool {
    let claims = replica::claims(&observed.set, ordinal);
    let known = |name: Option<&String>| name.is_some_and(|name| observed.claims.contains_key(name));
    claims.iter().any(|(_, claim)| !known(claim.metadata.name.as_ref()))
}

fn is_misowned(observed: &Observed, pod: &Pod, ordinal: i32) -> bool {
    let set = &observed.set;
    replica::claims(set, ordinal).iter().any(|(_, claim)| {
        let known = observed.claims.get(claim.metadata.name.as_deref().unwrap_or_default());
        known.is_some_and(|known| claims::owners(set, known, pod, ordinal).is_some())
    })
}

// Pods below the partition come back as they were.
fn revision_for(observed: &Observed, ordinal: i32) -> &Revision {
    let set = &observed.set;
    let strategy = set.spec.update_strategy.as_ref();
    let rolls = strategy.is_none_or(|it| it.type_.as_deref().unwrap_or("RollingUpdate") == "RollingUpdate");
    let kept = match strategy.and_then(|it| it.rolling_update.as_ref()) {
        Some(rolling) => rolling.partition.unwrap_or(0),
        None if rolls => set.status.as_ref().and_then(|it| it.current_replicas).unwrap_or(0),
        None => 0,
    };
    if ordinal - replica::first(set) < kept { &observed.current } else { &observed.update }
}

// Deletes outdated pods from the last on, as many as may be unavailable.
fn roll(observed: &Observed, replicas: &[Replica], min_ready: i32, now: Timestamp, plan: &mut Plan) {
    let set = &observed.set;
    let strategy = set.spec.update_strategy.as_ref();
    if strategy.is_some_and(|it| it.type_.as_deref() == Some("OnDelete")) {
        return;
    }
    let partition = strategy.and_then(|it| it.rolling_update.as_ref()?.partition).unwrap_or(0);
    let partition = usize::try_from(partition).unwrap_or(0);
    let most = most_unavailable(strategy, replicas.len());
    let pods: Vec<&Arc<Pod>> = replicas.iter().filter_map(|it| it.pod.as_ref()).collect();
    let outdated = |pod: &Pod| {
        replica::revision(pod) != observed.update.name && pod.metadata.deletion_timestamp.is_none()
    };
    let unavailable = |pod: &Pod| is_unavailable(pod, min_ready, now);
    let parallel = set.spec.pod_management_policy.as_deref() == Some("Parallel");
    let lacking = pods.iter().filter(|pod| unavailable(pod)).count();
    let stuck = parallel && pods.iter().any(|pod| unavailable(pod) && outdated(pod));
    if lacking >= most && !stuck {
        return;
    }
    let mut budget = most.saturating_sub(lacking);
    for pod in pods.get(partition..).unwrap_or_default().iter().rev().filter(|pod| outdated(pod)) {
        // What is unavailable anyway costs a parallel set nothing.
        let free = parallel && unavailable(pod);
        if !free && budget == 0 {
            continue;
        }
        budget -= usize::from(!free);
        plan.outdated += 1;
        plan.steps.push(Step::Delete((*pod).clone()));
    }
}

fn most_unavailable(strategy: Option<&StatefulSetUpdateStrategy>, replicas: usize) -> usize {
    let limit = strategy.and_then(|it| it.rolling_update.as_ref()?.max_unavailable.clone());
    let number = match limit {
        None => 1,
        Some(IntOrString::Int(number)) => usize::try_from(number).unwrap_or(1),
        Some(IntOrString::String(text)) => {
            let share: usize = text.strip_suffix('%').and_then(|it| it.parse().ok()).unwrap_or(0);
            share * replicas / 100
        }
    };
    number.max(1)
}
