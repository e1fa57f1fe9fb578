//! What a Job needs done.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    backoff::{self, Backoff},
    failure::{self, Verdict},
    finish::{self, condition},
    indexes::Indexes,
    pods,
};
use crate::{pod, replica_set::ranking};

/// Pods created or deleted in one go.
const BURST: usize = 500;

/// A Job and its pods.
pub(super) struct Observed {
    pub(super) job: Arc<Job>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// All that was created and deleted before shows in `pods`.
    pub(super) settled: bool,
    /// Pods that were counted, though a copy may not show it.
    pub(super) counted: HashSet<String>,
    pub(super) backoff: Backoff,
}

/// The state of a job as its pods are.
pub(super) struct Tally {
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) indexes: Option<Progress>,
    pub(super) backoff: Backoff,
}

/// The indexes of an indexed job.
pub(super) struct Progress {
    /// As the status has them.
    pub(super) before: Indexes,
    /// With the pods that have succeeded since.
    pub(super) succeeded: Indexes,
    /// Those that failed for good, if each has a limit of its own.
    pub(super) failed: Option<Indexes>,
    /// The pods that wait to be replaced, by index: they are counted when they are.
    pub(super) delayed: BTreeMap<i32, Arc<Pod>>,
}

/// What to do; the status comes after it.
pub(super) struct Plan {
    pub(super) tally: Tally,
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// The condition that ends the job.
    pub(super) finished: Option<JobCondition>,
    /// Whether it was looked at what pods are to be.
    pub(super) managed: bool,
    pub(super) again: Option<Duration>,
}

/// The pods of an indexed job, or not.
pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

/// Decides what `observed` needs.
pub(super) fn plan(observed: &Observed, spec: &JobSpec, now: Timestamp) -> Plan {
    let tally = tally(observed, spec);
    let mut again = None;
    let finished = finish::finished(observed, spec, &tally, now, &mut again);
    let mut plan = Plan { tally, create: Vec::new(), delete: Vec::new(), finished, managed: false, again };
    if plan.finished.is_some() {
        plan.delete.clone_from(&plan.tally.active);
        // What is not seen yet may still run.
        if !observed.settled {
            plan.finished = None;
        }
    } else if observed.settled && observed.job.metadata.deletion_timestamp.is_none() {
        plan.managed = true;
        manage(observed, spec, &mut plan, now);
    }
    plan
}

fn tally(observed: &Observed, spec: &JobSpec) -> Tally {
    let status = observed.job.status.clone().unwrap_or_default();
    let active: Vec<_> = observed.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    let count = |of: &dyn Fn(&Pod) -> bool| clamp(observed.pods.iter().filter(|pod| of(pod)).count());
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let (old_succeeded, old_failed) =
        (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
    let new = |listed: &[String], of: &dyn Fn(&Pod) -> bool| -> Vec<Arc<Pod>> {
        let listed: HashSet<&String> = listed.iter().collect();
        let valid = observed.pods.iter().filter(|pod| is_valid(observed, spec, pod));
        let unlisted = valid.filter(|pod| pod.metadata.uid.as_ref().is_none_or(|uid| !listed.contains(uid)));
        unlisted.filter(|pod| of(pod)).cloned().collect()
    };
    let succeeded = new(&old_succeeded, &|pod| pod::phase(pod) == "Succeeded");
    let failed = new(&old_failed, &|pod| failure::is_failed(pod, spec));
    let counts = failed.iter().filter(|pod| failure::judge(&observed.job, pod) != Verdict::Ignored).count();
    let mut tally = Tally {
        ready: clamp(active.iter().filter(|pod| pod::is_ready(pod)).count()),
        terminating: count(&pod::is_terminating),
        active,
        succeeded: status.succeeded.unwrap_or(0).saturating_add(clamp(succeeded.len() + old_succeeded.len())),
        failed: status.failed.unwrap_or(0).saturating_add(clamp(counts + old_failed.len())),
        indexes: None,
        backoff: observed.backoff.after(&succeeded, &failed),
    };
    if is_indexed(spec) {
        let progress = progress(observed, spec, &status, &tally.active);
        tally.succeeded = progress.succeeded.total();
        tally.indexes = Some(progress);
    }
    tally
}

// Whether a pod is still to be counted.
fn is_valid(observed: &Observed, spec: &JobSpec, pod: &Pod) -> bool {
    let counted = pod.metadata.uid.as_ref().is_some_and(|uid| observed.counted.contains(uid));
    let indexed = !is_indexed(spec) || pods::index(pod).is_some_and(|it| it < completions(spec));
    pods::is_tracked(pod) && !counted && indexed
}

fn completions(spec: &JobSpec) -> i32 {
    spec.completions.unwrap_or(0)
}

fn progress(observed: &Observed, spec: &JobSpec, status: &JobStatus, active: &[Arc<Pod>]) -> Progress {
    let completions = completions(spec);
    let known = |pod: &Pod| pods::index(pod).filter(|index| *index < completions);
    let tracked = || observed.pods.iter().filter(|pod| pods::is_tracked(pod));
    let before = Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), completions);
    let done = tracked().filter(|pod| pod::phase(pod) == "Succeeded").filter_map(|pod| known(pod));
    let succeeded = before.with(done);
    let failed = spec.backoff_limit_per_index.map(|limit| {
        let old = Indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), completions);
        let gone = tracked().filter(|pod| fails_index(observed, spec, pod, limit));
        old.with(gone.filter_map(|pod| known(pod)))
    });
    let mut delayed: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    if let Some(failed) = &failed {
        let running: HashSet<i32> = active.iter().filter_map(|pod| pods::index(pod)).collect();
        let valid = observed.pods.iter().filter(|pod| is_valid(observed, spec, pod));
        for pod in valid.filter(|pod| failure::is_failed(pod, spec)) {
            let Some(index) = known(pod) else { continue };
            if succeeded.has(index) || failed.has(index) || running.contains(&index) {
                continue;
            }
            let last = delayed.get(&index);
            if last.is_none_or(|last| pods::all_failures(last) <= pods::all_failures(pod)) {
                delayed.insert(index, pod.clone());
            }
        }
    }
    Progress { before, succeeded, failed, delayed }
}

fn fails_index(observed: &Observed, spec: &JobSpec, pod: &Pod, limit: i32) -> bool {
    failure::is_failed(pod, spec)
        && match failure::judge(&observed.job, pod) {
            Verdict::Ignored => false,
            Verdict::FailsIndex => true,
            Verdict::Counts | Verdict::FailsJob(_) => pods::failures(pod) >= limit,
        }
}

fn manage(observed: &Observed, spec: &JobSpec, plan: &mut Plan, now: Timestamp) {
    let tally = &plan.tally;
    let active = clamp(tally.active.len());
    if is_suspended(spec) {
        plan.delete.clone_from(&tally.active);
        return;
    }
    let parallelism = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        None if tally.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => completions.saturating_sub(tally.succeeded).min(parallelism).max(0),
    };
    let mut surplus = surplus(spec, &tally.active, active - wanted, now);
    if !surplus.is_empty() {
        surplus.truncate(BURST);
        plan.delete = surplus;
        return;
    }
    let ending = if failure::only_replaces_failed(spec) { tally.terminating } else { 0 };
    let missing = usize::try_from(wanted - ending - active).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    if spec.backoff_limit_per_index.is_none()
        && let Some(left) = tally.backoff.left(now)
    {
        plan.again = Some(plan.again.map_or(left, |again| again.min(left)));
        return;
    }
    let Some(progress) = &tally.indexes else {
        plan.create = vec![pods::new(&observed.job); missing];
        return;
    };
    let running = tally.active.iter().filter_map(|pod| pods::index(pod));
    let mut taken = progress.succeeded.with(running);
    if failure::only_replaces_failed(spec) {
        let ending = observed.pods.iter().filter(|pod| pod::is_terminating(pod));
        taken = taken.with(ending.filter_map(|pod| pods::index(pod)));
    }
    if let Some(failed) = &progress.failed {
        taken = taken.merged(failed);
    }
    let mut waits: Option<Duration> = None;
    for index in taken.missing(missing, completions(spec)) {
        let failed = progress.delayed.get(&index);
        let left = failed.and_then(|pod| backoff::left_for_index(pod, pods::all_failures(pod), now));
        match left {
            Some(left) => waits = Some(waits.map_or(left, |it| it.min(left))),
            None => plan.create.push(pods::new_indexed(&observed.job, index, failed.map(Arc::as_ref))),
        }
    }
    plan.again = plan.again.into_iter().chain(waits).min();
}

// The pods that are too many: doubles of an index, and as many as go beyond what is wanted.
fn surplus(spec: &JobSpec, active: &[Arc<Pod>], at_least: i32, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut gone = Vec::new();
    let mut left = active.to_vec();
    ranking::sort(&mut left, &[], now);
    if is_indexed(spec) {
        let mut seen = HashSet::new();
        // The last is the one to keep.
        let keeps = |pod: &Arc<Pod>| {
            pods::index(pod).is_some_and(|index| index < completions(spec) && seen.insert(index))
        };
        let (kept, doubles): (Vec<_>, Vec<_>) = left.into_iter().rev().partition(keeps);
        left = kept.into_iter().rev().collect();
        gone = doubles;
    }
    let more = usize::try_from(at_least).unwrap_or(0).saturating_sub(gone.len());
    gone.extend(left.into_iter().take(more));
    gone
}

pub(super) fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The conditions with this one as it is now; `None` when they were so already.
pub(super) fn with_condition(
    conditions: &[JobCondition],
    kind: &str,
    status: &str,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Option<Vec<JobCondition>> {
    let mut conditions = conditions.to_vec();
    let new = JobCondition { status: status.to_owned(), ..condition(kind, reason, message, now) };
    match conditions.iter_mut().find(|it| it.type_ == kind) {
        Some(known)
            if known.status == status
                && known.reason.as_deref() == Some(reason)
                && known.message.as_deref() == Some(message) =>
        {
            return None;
        }
        Some(known) => *known = new,
        None if status == "False" => return None,
        None => conditions.push(new),
    }
    Some(conditions)
}

pub(super) fn time(now: Timestamp) -> Time {
    Time(now)
}
