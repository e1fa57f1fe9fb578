//! What a DaemonSet reports.

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::{daemon::Place, plan::Field};
use crate::pod;

/// The status of the set in `field`.
pub(super) fn status(field: &Field<'_>) -> DaemonSetStatus {
    let old = field.set.status.clone().unwrap_or_default();
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut updated, mut available) = (0, 0, 0);
    for (node, place) in &field.places {
        let pod = field.pods.get(*node).and_then(|pods| pods.first());
        if *place != Place::Runs {
            misplaced += i32::from(pod.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = pod else { continue };
        current += 1;
        ready += i32::from(pod::is_ready(pod));
        available += i32::from(field.is_available(pod));
        updated += i32::from(field.is_updated(pod));
    }
    let told = |count: i32| Some(count).filter(|count| *count != 0);
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        updated_number_scheduled: told(updated),
        number_available: told(available),
        number_unavailable: told(desired - available),
        // What waits to see its own writes has not acted on this generation yet.
        observed_generation: if field.observed.settled {
            field.set.metadata.generation
        } else {
            old.observed_generation
        },
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}
