//! What a Deployment reports.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::work::{Set, Work};

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The pods that the deployment last reported.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0)
}

/// The condition that tells how a roll-out goes.
pub(super) fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    deployment.status.as_ref().and_then(|status| find(status, PROGRESSING))
}

/// Reports how the roll-out goes on the working copy.
pub(super) fn set_progressing(work: &mut Work, status: &str, reason: &str, message: String) {
    let condition = new(PROGRESSING, status, reason, message, work.now);
    set(work.deployment.status.get_or_insert_default(), condition);
}

/// Reports a pause or its end, so that the time until then does not count
/// against the deadline.
pub(super) fn note_pause(work: &mut Work) {
    if !work.has_progress_deadline() {
        return;
    }
    let reason = progressing(&work.deployment).and_then(|c| c.reason.as_deref());
    let (paused, noted) = (is_paused(&work.deployment), reason == Some("DeploymentPaused"));
    if reason == Some(TIMED_OUT) {
        return;
    }
    if paused && !noted {
        set_progressing(work, "Unknown", "DeploymentPaused", "Deployment is paused".into());
    } else if !paused && noted {
        set_progressing(work, "Unknown", "DeploymentResumed", "Deployment is resumed".into());
    }
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

/// True when all wanted pods are new and available and no others are left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    [status.updated_replicas, status.replicas, status.available_replicas]
        .iter()
        .all(|n| n.unwrap_or(0) == wanted)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

/// The counts, and whether enough pods are available.
pub(super) fn counted(work: &Work) -> DeploymentStatus {
    let old = work.deployment.status.clone().unwrap_or_default();
    let available = work.total(Set::available);
    let mut status = DeploymentStatus {
        observed_generation: work.deployment.metadata.generation,
        replicas: nonzero(work.total(Set::actual)),
        updated_replicas: nonzero(work.new.as_ref().map_or(0, Set::actual)),
        ready_replicas: nonzero(work.total(Set::ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((work.total(Set::replicas) - available).max(0)),
        terminating_replicas: terminating(work),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let condition = if available >= work.wanted() - work.max_unavailable() {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, new(AVAILABLE, condition.0, condition.1, condition.2.into(), work.now));
    status
}

/// The pods that are ending; unknown when a set does not report them.
fn terminating(work: &Work) -> Option<i32> {
    work.sets().try_fold(0, |sum, set| {
        let status = set.object.status.as_ref();
        let unobserved = status.and_then(|s| s.observed_generation).unwrap_or(0) == 0;
        match status.and_then(|s| s.terminating_replicas) {
            Some(count) => Some(sum + count),
            None if unobserved => Some(sum),
            None => None,
        }
    })
}

/// The status during a roll-out: the counts, and how it goes.
pub(super) fn of_rollout(work: &Work) -> DeploymentStatus {
    let mut status = counted(work);
    let current = progressing(&work.deployment);
    if !work.has_progress_deadline() {
        remove(&mut status, PROGRESSING);
    } else {
        let done = status.replicas == status.updated_replicas
            && current.and_then(|c| c.reason.as_deref()) == Some(COMPLETE);
        if !done {
            estimate(work, &mut status);
        }
    }
    match failure(work) {
        Some(condition) => set(&mut status, condition),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

fn estimate(work: &Work, status: &mut DeploymentStatus) {
    let subject = match &work.new {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", work.name()),
    };
    let condition = |status: &str, reason: &str, what: &str| {
        new(PROGRESSING, status, reason, format!("{subject} {what}."), work.now)
    };
    if is_complete(&work.deployment, status) {
        set(status, condition("True", COMPLETE, "has successfully progressed"));
    } else if has_progressed(&work.deployment, status) {
        let mut next = condition("True", "ReplicaSetUpdated", "is progressing");
        // Its time must move on with every progress, also for the same reason.
        if let Some(current) = progressing(&work.deployment) {
            if current.status.as_deref() == Some("True") {
                next.last_transition_time = current.last_transition_time.clone();
            }
            remove(status, PROGRESSING);
        }
        set(status, next);
    } else if has_timed_out(work, status) {
        set(status, condition("False", TIMED_OUT, "has timed out progressing"));
    }
}

fn has_progressed(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let old = deployment.status.clone().unwrap_or_default();
    let count = |n: Option<i32>| n.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
    count(status.updated_replicas) > count(old.updated_replicas)
        || outdated(status) < outdated(&old)
        || count(status.ready_replicas) > count(old.ready_replicas)
        || count(status.available_replicas) > count(old.available_replicas)
}

fn deadline(work: &Work, condition: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = work.deployment.spec.progress_deadline_seconds?;
    condition.last_update_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

fn has_timed_out(work: &Work, status: &DeploymentStatus) -> bool {
    let Some(condition) = find(status, PROGRESSING) else { return false };
    match condition.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(work, condition).is_some_and(|deadline| deadline < work.now),
    }
}

/// When a roll-out that does not move must be looked at again.
pub(super) fn next_check(work: &Work, status: &DeploymentStatus) -> Option<Duration> {
    let current = progressing(&work.deployment).filter(|_| work.has_progress_deadline())?;
    if is_complete(&work.deployment, status) || current.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let left = deadline(work, current)?.duration_since(work.now).max(SignedDuration::ZERO);
    // A second more: times in objects have no fractions.
    Some(left.unsigned_abs() + Duration::from_secs(1))
}

/// Why a set cannot have its pods; the new set's reason first.
fn failure(work: &Work) -> Option<DeploymentCondition> {
    let failure_of = |set: &Set| {
        let conditions = set.object.status.as_ref().and_then(|status| status.conditions.clone());
        conditions.into_iter().flatten().find(|c| c.type_.as_deref() == Some(REPLICA_FAILURE))
    };
    let condition = work.new.iter().chain(&work.old).find_map(failure_of)?;
    Some(DeploymentCondition {
        type_: condition.type_,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
        last_update_time: condition.last_transition_time.clone(),
        last_transition_time: condition.last_transition_time,
    })
}

/// `deployment` with the report that its new set cannot be created.
pub(super) fn with_failed_create(deployment: &Deployment, message: String, now: Timestamp) -> Deployment {
    let mut deployment = deployment.clone();
    let condition = new(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
    set(deployment.status.get_or_insert_default(), condition);
    deployment
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_.as_deref() == Some(type_))
}

fn new(type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    DeploymentCondition {
        type_: Some(type_.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

/// Puts `condition` in; one with the same status and reason stays as it is.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let type_ = condition.type_.clone().unwrap_or_default();
    if let Some(current) = find(status, &type_).filter(|current| current.status == condition.status) {
        if current.reason == condition.reason {
            return;
        }
        condition.last_transition_time = current.last_transition_time.clone();
    }
    remove(status, &type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_.as_deref() != Some(type_));
    }
}

fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}
