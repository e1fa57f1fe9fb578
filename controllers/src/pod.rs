//! What a pod's status says.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::framework::{Clock, Store};

/// The longest name that a pod may have.
const NAME_LONGEST: usize = 253;

/// The pod's phase; empty when it has none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// True when the pod has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// True when the pod runs or is going to.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// True when the pod is being deleted and has not ended yet.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// The condition of this type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "Ready").filter(|condition| condition.status == "True")
}

/// True when the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some()
}

/// Since when the pod has been ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod)?.last_transition_time.as_ref().map(|time| time.0)
}

/// True when the pod has been ready for `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| seconds_after(since, min_ready_seconds) <= now))
}

/// How long until the first of `pods` that is ready becomes available.
pub fn next_availability<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    let times = pods.into_iter().filter_map(ready_since).map(|since| seconds_after(since, min_ready_seconds));
    times.filter(|time| *time > now).min().map(|time| time.duration_since(now).unsigned_abs())
}

fn seconds_after(time: Timestamp, seconds: i32) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// The pod that `template` describes, owned by `owner`, its name to be
/// generated.
pub fn from_template(template: &PodTemplateSpec, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    // The dash is left out where it would make the prefix too long for a name.
    let dashed = format!("{}-", owner.name);
    let prefix = if dashed.len() <= NAME_LONGEST { dashed } else { owner.name.clone() };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(prefix),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The name of the index of pods by the node that they are on.
pub const BY_NODE: &str = "node";

/// Keeps `pods` indexed by node: [`BY_NODE`].
pub fn index_by_node(pods: &Store<Pod>) {
    pods.index(BY_NODE, |pod| node(pod).map(str::to_owned).into_iter().collect());
}

/// The node that the pod is on.
pub fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The condition that says the pod is disrupted, when it does not yet say so.
pub fn disruption(pod: &Pod, reason: &str, message: &str, clock: &Clock) -> Option<PodCondition> {
    let known = condition(pod, "DisruptionTarget");
    let same = |known: &PodCondition| {
        known.status == "True"
            && known.reason.as_deref() == Some(reason)
            && known.message.as_deref() == Some(message)
    };
    if known.is_some_and(same) {
        return None;
    }
    let since =
        known.filter(|known| known.status == "True").and_then(|known| known.last_transition_time.clone());
    Some(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        observed_generation: pod.metadata.generation,
        last_transition_time: Some(since.unwrap_or_else(|| clock.time())),
        last_probe_time: None,
    })
}
