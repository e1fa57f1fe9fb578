//! What a ReplicaSet reports.

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::plan::{Plan, wanted};
use crate::{framework::matches_labels, pod};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status of `set` with the pods of `plan`; `failure` is why pods could
/// not be created or deleted.
pub(super) fn status(
    set: &ReplicaSet,
    plan: &Plan,
    failure: Option<&str>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let template =
        set.spec.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let count = |counts: &dyn Fn(&k8s_openapi::api::core::v1::Pod) -> bool| {
        clamp(plan.active.iter().filter(|pod| counts(pod)).count())
    };
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: clamp(plan.active.len()),
        fully_labeled_replicas: nonzero(count(&|p| matches_labels(template, p.metadata.labels.as_ref()))),
        ready_replicas: nonzero(count(&pod::is_ready)),
        available_replicas: nonzero(count(&|p| pod::is_available(p, min_ready, now))),
        terminating_replicas: Some(clamp(plan.terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, &old, plan, failure, now),
    }
}

fn conditions(
    set: &ReplicaSet,
    old: &ReplicaSetStatus,
    plan: &Plan,
    failure: Option<&str>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let reported = conditions.iter().any(|c| c.type_.as_deref() == Some(REPLICA_FAILURE));
    match failure {
        Some(message) if !reported => conditions.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.into()),
            status: Some("True".into()),
            reason: Some(
                if plan.active.len() < wanted(set) { "FailedCreate" } else { "FailedDelete" }.into(),
            ),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(now)),
        }),
        None => conditions.retain(|c| c.type_.as_deref() != Some(REPLICA_FAILURE)),
        Some(_) => {}
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}
