//! What a StatefulSet reports.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::Pod,
};

use super::{identity, plan::wanted, revision::Editions};
use crate::pod;

/// The status of `set` with these pods.
pub(super) fn status<'a>(
    set: &StatefulSet,
    editions: &Editions,
    pods: impl Iterator<Item = &'a Arc<Pod>> + Clone,
    now: Timestamp,
) -> StatefulSetStatus {
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let ready = |pod: &Pod| pod::phase(pod) == "Running" && pod::is_ready(pod);
    let count = |counts: &dyn Fn(&Pod) -> bool| clamp(pods.clone().filter(|pod| counts(pod)).count());
    let at = |pod: &Pod, name: &str| {
        is_created(pod) && pod.metadata.deletion_timestamp.is_none() && identity::revision(pod) == name
    };
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&is_created),
        ready_replicas: Some(count(&ready)),
        available_replicas: Some(count(&|pod| ready(pod) && pod::is_available(pod, min_ready, now))),
        current_replicas: Some(count(&|pod| at(pod, &editions.current.name))),
        updated_replicas: Some(count(&|pod| at(pod, &editions.update.name))),
        current_revision: Some(editions.current.name.clone()),
        update_revision: Some(editions.update.name.clone()),
        collision_count: Some(editions.collisions),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}

/// `status`, in which an update that is complete counts as such.
pub(super) fn completed(set: &StatefulSet, mut status: StatefulSetStatus) -> StatefulSetStatus {
    let all = Some(wanted(set));
    if status.updated_replicas == all && status.ready_replicas == all && Some(status.replicas) == all {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

/// `status` as the API shows it: numbers that are zero left out.
pub(super) fn canonical(mut status: StatefulSetStatus) -> StatefulSetStatus {
    for count in [&mut status.ready_replicas, &mut status.current_replicas, &mut status.updated_replicas] {
        *count = count.filter(|count| *count != 0);
    }
    status.available_replicas = Some(status.available_replicas.unwrap_or(0));
    status
}

fn is_created(pod: &Pod) -> bool {
    !pod::phase(pod).is_empty()
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
