//! What a StatefulSet reports.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::{
    plan::{Observed, Plan},
    replica,
};
use crate::pod;

/// The status of what is observed, with what `plan` takes away.
pub(super) fn status(
    observed: &Observed,
    plan: &Plan,
    collisions: Option<i32>,
    now: Timestamp,
) -> StatefulSetStatus {
    let set = &observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
    let mut replicas = 0;
    for pod in &observed.pods {
        replicas += i32::from(!pod::phase(pod).is_empty());
        let runs = pod::phase(pod) == "Running" && pod::is_ready(pod);
        ready += i32::from(runs);
        available += i32::from(runs && pod::is_available(pod, min_ready, now));
        if pod.metadata.deletion_timestamp.is_none() {
            current += i32::from(replica::revision(pod) == observed.current.name);
            updated += i32::from(replica::revision(pod) == observed.update.name);
        }
    }
    current -= plan.outdated;
    let mut revision = observed.current.name.clone();
    let wanted = replica::count(set);
    if [updated, ready, replicas] == [wanted; 3] {
        current = updated;
        revision.clone_from(&observed.update.name);
    }
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    StatefulSetStatus {
        available_replicas: Some(available),
        collision_count: Some(collisions.unwrap_or(0)),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        current_replicas: some(current),
        current_revision: Some(revision),
        observed_generation: set.metadata.generation,
        ready_replicas: some(ready),
        replicas,
        update_revision: Some(observed.update.name.clone()),
        updated_replicas: some(updated),
    }
}
