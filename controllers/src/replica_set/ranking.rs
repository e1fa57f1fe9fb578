//! Which pods go first when there are too many.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// The annotation with which a user ranks pods.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts `pods`, those to delete first at the front. `related` are the pods
/// that should be spread over nodes with them.
pub(crate) fn sort(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut neighbours: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod::is_active(pod)) {
        *neighbours.entry(node(pod)).or_default() += 1;
    }
    pods.sort_by_cached_key(|pod| rank(pod, neighbours.get(node(pod)).copied().unwrap_or(0), now));
}

/// A pod's place; the smallest goes first. In upstream's order: not on a
/// node, not running, not ready, cheap by annotation, crowded, ready for a
/// short time, often restarted, young. Ages count by order of magnitude, so
/// that pods of one batch go in no particular order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_age: Age,
    restarts: Reverse<i32>,
    sidecar_restarts: Reverse<i32>,
    age: Age,
    uid: String,
}

fn rank(pod: &Pod, neighbours: usize, now: Timestamp) -> Rank {
    let ready = pod::is_ready(pod);
    let (restarts, sidecar_restarts) = restarts(pod);
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Rank {
        assigned: !node(pod).is_empty(),
        phase: match pod::phase(pod) {
            "Unknown" => 1,
            "Running" => 2,
            _ => 0,
        },
        ready,
        cost: deletion_cost(pod),
        crowd: Reverse(neighbours),
        ready_age: if ready { Age::of(pod::ready_since(pod), now) } else { Age::Unknown },
        restarts: Reverse(restarts),
        sidecar_restarts: Reverse(sidecar_restarts),
        age: Age::of(created, now),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

/// An age by its order of magnitude.
#[derive(PartialEq, Eq)]
enum Age {
    Unknown,
    Log2(i64),
}

impl Age {
    fn of(since: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(since) = since else { return Age::Unknown };
        let nanos = now.as_nanosecond() - since.as_nanosecond();
        Age::Log2(if nanos > 0 { i64::from(nanos.ilog2()) } else { -1 })
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Age::Unknown, Age::Unknown) => Ordering::Equal,
            (Age::Unknown, _) => Ordering::Less,
            (_, Age::Unknown) => Ordering::Greater,
            (Age::Log2(a), Age::Log2(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The cost that the pod's annotation states; zero when it is not a number
/// as upstream reads them (no leading plus or zeros).
fn deletion_cost(pod: &Pod) -> i32 {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST)) else { return 0 };
    text.parse().ok().filter(|cost: &i32| cost.to_string() == *text).unwrap_or(0)
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let most = status.container_statuses.iter().flatten().map(|c| c.restart_count).max().unwrap_or(0);
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let of_sidecars = status.init_container_statuses.iter().flatten();
    let most_sidecar = of_sidecars
        .filter(|c| sidecars.contains(&c.name.as_str()))
        .map(|c| c.restart_count)
        .max()
        .unwrap_or(0);
    (most, most_sidecar)
}
