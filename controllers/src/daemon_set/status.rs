//! What a DaemonSet reports.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::{
    node,
    plan::{Observed, is_new, tolerations},
};
use crate::pod;

/// The status of what is observed. It is of the set's generation only when
/// that was worked on.
pub(super) fn status(observed: &Observed, collisions: Option<i32>, now: Timestamp) -> DaemonSetStatus {
    let old = observed.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: collisions,
        conditions: old.conditions,
        observed_generation: if observed.settled {
            observed.set.metadata.generation
        } else {
            old.observed_generation
        },
        ..DaemonSetStatus::default()
    };
    let spec = &observed.set.spec;
    let tolerations = tolerations(spec);
    let (mut updated, mut available) = (0, 0);
    for node in &observed.nodes {
        let pods = observed.pods.get(node.metadata.name.as_deref().unwrap_or_default());
        let first = pods.and_then(|pods| pods.first());
        if !node::fit(&observed.set, &tolerations, node).run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod::is_ready(pod));
        available += i32::from(pod::is_available(pod, spec.min_ready_seconds.unwrap_or(0), now));
        updated += i32::from(is_new(observed, pod));
    }
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}
