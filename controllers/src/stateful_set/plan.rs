//! What a StatefulSet needs done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::{PersistentVolumeClaim, Pod},
};

use super::{identity, retention, revision::Editions, status};
use crate::{
    pod,
    portion::{Round, scaled},
};

/// Pods created in one go.
pub(super) const BURST: usize = 500;

/// A set, its pods and their claims.
pub(super) struct Observed {
    pub(super) set: Arc<StatefulSet>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// By name.
    pub(super) claims: HashMap<String, Arc<PersistentVolumeClaim>>,
}

/// What to do for one pod.
#[derive(Debug)]
pub(super) enum Step {
    /// Create its claims and the pod.
    Create(Box<Pod>),
    /// Create the claims that are missing.
    Claims(Arc<Pod>),
    /// Make its labels, its claims and their owners right.
    Repair(Arc<Pod>),
    /// Make the owners of its claims right.
    Retain(Arc<Pod>),
    Delete(Arc<Pod>),
}

/// What to do; the fields in this order, and each only if the one before it
/// went well.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each pod that the set asks for.
    pub(super) replicas: Vec<Vec<Step>>,
    /// For the pods that it no longer asks for, the last first.
    pub(super) condemned: Vec<Vec<Step>>,
    /// Pods to be deleted so that they come back as the update says.
    pub(super) outdated: Vec<Arc<Pod>>,
    pub(super) status: StatefulSetStatus,
    /// One after the other, rather than all at once.
    pub(super) ordered: bool,
}

/// How many pods `set` asks for.
pub(super) fn wanted(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// Decides what `observed` needs.
pub(super) fn plan(observed: &Observed, editions: &Editions, now: Timestamp) -> Plan {
    let set = &*observed.set;
    let range = identity::range(set);
    let (mut replicas, mut condemned) = (BTreeMap::new(), BTreeMap::new());
    for pod in &observed.pods {
        // A pod without an ordinal is none of ours to judge.
        let Some(ordinal) = identity::ordinal(pod).map(i64::from) else { continue };
        let kind = if range.contains(&ordinal) { &mut replicas } else { &mut condemned };
        kind.insert(ordinal, pod.clone());
    }
    let judge = Judge { observed, set, editions, now, min_ready: set.spec.min_ready_seconds.unwrap_or(0) };
    let counted = replicas.values().chain(condemned.values());
    let mut plan = Plan {
        status: status::status(set, editions, counted, now),
        ordered: set.spec.pod_management_policy.as_deref() != Some("Parallel"),
        ..Plan::default()
    };
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let blocked = if plan.ordered {
        judge.one_by_one(&replicas, &mut plan)
    } else {
        judge.all_at_once(&replicas, &mut plan);
        false
    };
    if blocked || judge.condemn(&condemned, &mut plan) {
        return plan;
    }
    let strategy = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if strategy.unwrap_or("RollingUpdate") == "RollingUpdate" {
        plan.outdated = judge.outdated(&replicas, plan.ordered);
    }
    plan
}

type Pods = BTreeMap<i64, Arc<Pod>>;

struct Judge<'a> {
    observed: &'a Observed,
    set: &'a StatefulSet,
    editions: &'a Editions,
    now: Timestamp,
    min_ready: i32,
}

impl Judge<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        pod::is_available(pod, self.min_ready, self.now)
    }

    fn is_unavailable(&self, pod: &Pod) -> bool {
        !self.is_available(pod) || is_terminating(pod)
    }

    /// Each pod once those before it are well; true when one is not yet.
    fn one_by_one(&self, replicas: &Pods, plan: &mut Plan) -> bool {
        for ordinal in identity::range(self.set) {
            let Some(pod) = replicas.get(&ordinal) else {
                plan.replicas.extend(self.create(ordinal));
                return true;
            };
            let ready = pod::phase(pod) == "Running" && pod::is_ready(pod);
            let waits = is_terminating(pod) || !ready || !self.is_available(pod);
            let steps = self.keep(pod, !waits);
            if !steps.is_empty() {
                plan.replicas.push(steps);
            }
            if waits || pod::is_terminal(pod) {
                return true;
            }
        }
        false
    }

    fn all_at_once(&self, replicas: &Pods, plan: &mut Plan) {
        let kept = replicas.values().map(|pod| self.keep(pod, true));
        plan.replicas = kept.filter(|steps| !steps.is_empty()).collect();
        let missing = identity::range(self.set).filter(|ordinal| !replicas.contains_key(ordinal));
        plan.replicas.extend(missing.take(BURST).filter_map(|ordinal| self.create(ordinal)));
    }

    /// What creates the pod with `ordinal`; nothing while claims of an
    /// earlier one are still to go.
    fn create(&self, ordinal: i64) -> Option<Vec<Step>> {
        let pod = self.pod(ordinal);
        let waits =
            self.claims(&pod).flatten().any(|claim| retention::waits_for_earlier(self.set, claim, &pod));
        (!waits).then(|| vec![Step::Create(Box::new(pod))])
    }

    /// The pod with `ordinal` at the revision that it is to have.
    fn pod(&self, ordinal: i64) -> Pod {
        let index = ordinal - identity::range(self.set).start;
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let is_rolling = strategy.and_then(|s| s.type_.as_deref()) == Some("RollingUpdate");
        let before = match rolling {
            Some(rolling) => rolling.partition.unwrap_or(0),
            None if is_rolling => self.set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
            None => 0,
        };
        let edition = if index < i64::from(before) { &self.editions.current } else { &self.editions.update };
        identity::pod(self.set, &edition.template, &edition.name, ordinal)
    }

    /// The claims that `pod` is to have, where they are there.
    fn claims(&self, pod: &Pod) -> impl Iterator<Item = Option<&Arc<PersistentVolumeClaim>>> {
        let ordinal = identity::ordinal(pod);
        let names = ordinal.into_iter().flat_map(|ordinal| identity::claim_names(self.set, ordinal));
        names.map(|name| self.observed.claims.get(&name))
    }

    fn is_retained(&self, pod: &Pod) -> bool {
        self.claims(pod).flatten().all(|claim| retention::is_met(self.set, claim, pod))
    }

    /// What a pod that is there needs; `well` when it may be repaired.
    fn keep(&self, pod: &Arc<Pod>, well: bool) -> Vec<Step> {
        if pod::is_terminal(pod) {
            let ends = is_terminating(pod);
            return if ends { Vec::new() } else { vec![Step::Delete(pod.clone())] };
        }
        let mut steps = Vec::new();
        if pod::phase(pod) == "Pending" {
            let there = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.deletion_timestamp.is_none();
            let complete = self.claims(pod).all(|claim| claim.is_some_and(there));
            if !complete || !self.is_retained(pod) {
                steps.push(Step::Claims(pod.clone()));
            }
        }
        let right =
            identity::is_identified(pod) && identity::is_stored(self.set, pod) && self.is_retained(pod);
        if well && !right {
            steps.push(Step::Repair(pod.clone()));
        }
        steps
    }

    /// Takes away what the set no longer asks for; true when that comes first.
    fn condemn(&self, condemned: &Pods, plan: &mut Plan) -> bool {
        let retain: Vec<&Arc<Pod>> = condemned.values().rev().filter(|pod| !self.is_retained(pod)).collect();
        plan.condemned = retain.into_iter().map(|pod| vec![Step::Retain(pod.clone())]).collect();
        if !plan.ordered {
            let going = condemned.values().rev().filter(|pod| !is_terminating(pod));
            plan.condemned.extend(going.map(|pod| vec![Step::Delete(pod.clone())]));
            return false;
        }
        let Some(last) = condemned.values().next_back() else { return false };
        // The replicas are all well when it comes to this.
        let first_unwell = condemned.values().find(|pod| self.is_unavailable(pod));
        let ready = pod::phase(last) == "Running" && pod::is_ready(last) && self.is_available(last);
        let may_go = ready || first_unwell.is_some_and(|first| Arc::ptr_eq(first, last));
        if !is_terminating(last) && may_go {
            plan.condemned.push(vec![Step::Delete(last.clone())]);
        }
        true
    }

    /// The pods that the update replaces next.
    fn outdated(&self, replicas: &Pods, ordered: bool) -> Vec<Arc<Pod>> {
        let range = identity::range(self.set);
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = i64::from(rolling.and_then(|rolling| rolling.partition).unwrap_or(0));
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = match most {
            None => 1,
            most => usize::try_from(scaled(most, wanted(self.set), Round::Down).max(1)).unwrap_or(1),
        };
        let asked = usize::try_from(range.end - range.start).unwrap_or(0);
        let missing = asked.saturating_sub(replicas.len());
        let unavailable = missing + replicas.values().filter(|pod| self.is_unavailable(pod)).count();
        let budget = most.saturating_sub(unavailable);

        let of_update = &self.editions.update.name;
        let old: Vec<&Arc<Pod>> = replicas
            .range(range.start.saturating_add(partition)..)
            .rev()
            .map(|(_, pod)| pod)
            .filter(|pod| identity::revision(pod) != of_update && !is_terminating(pod))
            .collect();
        if ordered {
            return old.into_iter().take(budget).cloned().collect();
        }
        // What is not available anyhow costs nothing.
        let (available, idle): (Vec<_>, Vec<_>) = old.into_iter().partition(|pod| self.is_available(pod));
        idle.into_iter().chain(available.into_iter().take(budget)).cloned().collect()
    }
}

fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
