//! Counts the pods of a Job that have ended.
//!
//! A pod that has ended is first listed in the status, then loses its
//! finalizer, then becomes a number: so each is counted once, whatever fails
//! between.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{JobCondition, JobSpec, JobStatus},
    core::v1::Pod,
};

use super::{
    failure::{self, Verdict},
    finish::{condition, held},
    plan::{Observed, Plan, clamp, is_indexed, time, with_condition},
    pods,
};
use crate::pod;

/// Pods listed at once.
const LISTED: usize = 500;

/// The first of the two writes, and what lies between them.
pub(super) struct Tracked {
    pub(super) status: JobStatus,
    /// The pods that are counted now.
    pub(super) ended: Vec<Arc<Pod>>,
    /// The condition that ends the job, once all are counted.
    pub(super) finished: Option<JobCondition>,
}

/// Lists what has ended in `status`.
pub(super) fn list(
    observed: &Observed,
    spec: &JobSpec,
    plan: &Plan,
    mut status: JobStatus,
    now: Timestamp,
) -> Tracked {
    let tracked: HashSet<&str> = waiting(observed).filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    settle(&mut status, &tracked);
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let (mut ended, mut new_indexes, mut complete) = (Vec::new(), Vec::new(), true);
    for pod in waiting(observed) {
        let failed = failure::is_failed(pod, spec);
        if !may_go(observed, plan, pod, failed) {
            continue;
        }
        ended.push(pod.clone());
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let known = |list: &Option<Vec<String>>| list.iter().flatten().any(|it| *it == uid);
        let index = pods::index(pod).filter(|index| *index < spec.completions.unwrap_or(0));
        let succeeded = pod::phase(pod) == "Succeeded" && !known(&uncounted.failed);
        if succeeded && let Some(progress) = &plan.tally.indexes {
            new_indexes.extend(index.filter(|index| !progress.before.has(*index)));
        } else if succeeded {
            if !known(&uncounted.succeeded) {
                uncounted.succeeded.get_or_insert_default().push(uid);
            }
        } else if failed || ends_in_failure(plan) {
            let counts = failure::judge(&observed.job, pod) != Verdict::Ignored;
            if counts && !known(&uncounted.failed) && (!is_indexed(spec) || index.is_some()) {
                uncounted.failed.get_or_insert_default().push(uid);
            }
        }
        let listed = [&uncounted.succeeded, &uncounted.failed].map(|list| list.iter().flatten().count());
        if listed.iter().sum::<usize>() + new_indexes.len() >= LISTED {
            complete = false;
            break;
        }
    }
    status.uncounted_terminated_pods = Some(uncounted);
    if let Some(progress) = &plan.tally.indexes {
        let succeeded = progress.before.with(new_indexes);
        status.succeeded = some(succeeded.total());
        status.completed_indexes = Some(succeeded.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = progress.failed.as_ref().map(ToString::to_string);
    }
    let finished = announce(observed, plan.finished.clone(), &mut status, now);
    Tracked { status, ended, finished: finished.filter(|_| complete) }
}

fn waiting(observed: &Observed) -> impl Iterator<Item = &Arc<Pod>> {
    let counted = |pod: &Pod| pod.metadata.uid.as_ref().is_some_and(|uid| observed.counted.contains(uid));
    observed.pods.iter().filter(move |pod| pods::is_tracked(pod) && !counted(pod))
}

fn ends_in_failure(plan: &Plan) -> bool {
    plan.finished.as_ref().is_some_and(|it| it.type_ != "SuccessCriteriaMet")
}

fn may_go(observed: &Observed, plan: &Plan, pod: &Pod, failed: bool) -> bool {
    let over = observed.job.metadata.deletion_timestamp.is_some() || plan.finished.is_some();
    if over || pod::phase(pod) == "Succeeded" {
        return true;
    }
    // What its index's next pod has to know of it is written there first.
    let delayed = plan.tally.indexes.as_ref().and_then(|progress| progress.delayed.get(&pods::index(pod)?));
    failed && delayed.is_none_or(|delayed| delayed.metadata.uid != pod.metadata.uid)
}

/// Turns the listed pods that no longer have the finalizer into numbers. True
/// when there were some.
pub(super) fn settle(status: &mut JobStatus, tracked: &HashSet<&str>) -> bool {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return false };
    let count = |list: &mut Option<Vec<String>>| {
        let Some(uids) = list else { return 0 };
        let before = uids.len();
        uids.retain(|uid| tracked.contains(uid.as_str()));
        let settled = clamp(before - uids.len());
        if uids.is_empty() {
            *list = None;
        }
        settled
    };
    let (succeeded, failed) = (count(&mut uncounted.succeeded), count(&mut uncounted.failed));
    status.succeeded = some(status.succeeded.unwrap_or(0).saturating_add(succeeded));
    status.failed = some(status.failed.unwrap_or(0).saturating_add(failed));
    succeeded + failed > 0
}

fn some(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

// What the end will be is told before it is one.
fn announce(
    observed: &Observed,
    finished: Option<JobCondition>,
    status: &mut JobStatus,
    now: Timestamp,
) -> Option<JobCondition> {
    let finished = finished?;
    let end = match finished.type_.as_str() {
        "FailureTarget" => "Failed",
        "SuccessCriteriaMet" => "Complete",
        _ => return Some(finished),
    };
    if held(&observed.job, &finished.type_).is_none() {
        status.conditions.get_or_insert_default().push(finished.clone());
    }
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    Some(condition(end, &text(&finished.reason), &text(&finished.message), now))
}

/// Ends the job, if all of its pods have ended and are counted.
pub(super) fn end(status: &mut JobStatus, finished: &JobCondition, now: Timestamp) -> bool {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let open = uncounted.is_some_and(|it| it.succeeded.is_some() || it.failed.is_some());
    if open || status.terminating.is_some_and(|count| count > 0) {
        return false;
    }
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    let (reason, message) = (text(&finished.reason), text(&finished.message));
    let old = status.conditions.clone().unwrap_or_default();
    if let Some(new) = with_condition(&old, &finished.type_, "True", (&reason, &message), now) {
        status.conditions = Some(new);
    }
    if finished.type_ == "Complete" {
        status.completion_time = Some(time(now));
    }
    true
}
