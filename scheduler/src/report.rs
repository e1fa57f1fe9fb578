//! What users are told about pods that have no node: upstream's texts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use serde_json::{Value, json};

use crate::{cycle::Diagnosis, plugin::Nomination};

/// The message when there is no node at all.
pub(crate) const NO_NODES: &str = "no nodes available to schedule pods";

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub(crate) fn message(diagnosis: &Diagnosis) -> String {
    let mut message = format!("0/{} nodes are available:", diagnosis.nodes);
    if let Some(whole) = &diagnosis.whole {
        message += &format!(" {}.", whole.reasons.join(", "));
    } else {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in diagnosis.rejected.values().flat_map(|rejection| &rejection.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let absent = diagnosis.nodes.saturating_sub(diagnosis.rejected.len());
        if absent > 0 {
            for reason in diagnosis.absent.iter().flat_map(|rejection| &rejection.reasons) {
                *counts.entry(reason).or_default() += absent;
            }
        }
        let mut lines: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        // By text, numbers included, as upstream sorts them.
        lines.sort();
        if !lines.is_empty() {
            message += &format!(" {}.", lines.join(", "));
        }
    }
    if let Some(room) = &diagnosis.room {
        message += &format!(" {room}");
    }
    message
}

/// The reference that events carry of a pod.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// What the nominated node of a pod's status is to become; none when it is
/// that already.
fn renominated(pod: &Pod, nomination: &Nomination) -> Option<Value> {
    let status = pod.status.as_ref();
    let now = status.and_then(|s| s.nominated_node_name.as_deref()).filter(|node| !node.is_empty());
    match (nomination, now) {
        (Nomination::On(node), now) if now != Some(node) => Some(json!(node)),
        (Nomination::Clear, Some(_)) => Some(Value::Null),
        _ => None,
    }
}

/// The status patch that reports why the pod has no node, and where there
/// will be room; none when it says so already.
pub(crate) fn unscheduled(
    pod: &Pod,
    reason: &str,
    message: &str,
    nomination: &Nomination,
    now: Timestamp,
) -> Option<Value> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let current = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    let same = current.is_some_and(|current| {
        current.status == "False"
            && current.reason.as_deref() == Some(reason)
            && current.message.as_deref() == Some(message)
    });
    let renominated = renominated(pod, nomination);
    if same && renominated.is_none() {
        return None;
    }
    let since = current
        .filter(|current| current.status == "False")
        .and_then(|current| current.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": since.to_string(),
        "observedGeneration": pod.metadata.generation,
    });
    let mut status = if same { json!({}) } else { json!({"conditions": [condition]}) };
    if let Some(node) = renominated {
        status["nominatedNodeName"] = node;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Rejection;

    #[test]
    fn messages() {
        let rejected = |rows: &[(&str, &str)]| {
            rows.iter().map(|(node, reason)| ((*node).to_owned(), Rejection::resolvable(*reason))).collect()
        };
        let check = |diagnosis: Diagnosis, expected: &str| assert_eq!(message(&diagnosis), expected);
        check(
            Diagnosis {
                nodes: 3,
                rejected: rejected(&[
                    ("a", "Insufficient cpu"),
                    ("b", "node(s) were unschedulable"),
                    ("c", "Insufficient cpu"),
                ]),
                ..Diagnosis::default()
            },
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.",
        );
        check(
            Diagnosis {
                nodes: 3,
                rejected: rejected(&[("a", "Insufficient cpu")]),
                absent: Some(Rejection::unresolvable("node(s) didn't satisfy plugin(s) [NodeAffinity]")),
                ..Diagnosis::default()
            },
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
        );
        check(
            Diagnosis {
                nodes: 2,
                whole: Some(Rejection::unresolvable("pod affinity terms conflict")),
                room: Some("preemption: nothing helps.".into()),
                ..Diagnosis::default()
            },
            "0/2 nodes are available: pod affinity terms conflict. preemption: nothing helps.",
        );
    }

    #[test]
    fn a_condition_is_written_once_and_keeps_its_time() {
        let pod = |conditions: Value| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"generation": 1}, "status": {"conditions": conditions}}),
            )
            .unwrap()
        };
        let now = Timestamp::from_second(100).unwrap();
        let since =
            |patch: Option<Value>| patch.map(|p| p["status"]["conditions"][0]["lastTransitionTime"].clone());
        let known = |message: &str| {
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                    "lastTransitionTime": "1970-01-01T00:00:05Z"}])
        };
        let patch =
            |conditions| unscheduled(&pod(conditions), "Unschedulable", "no room", &Nomination::Keep, now);
        assert_eq!(since(patch(json!([]))), Some(json!("1970-01-01T00:01:40Z")));
        assert_eq!(since(patch(known("else"))), Some(json!("1970-01-01T00:00:05Z")));
        assert_eq!(patch(known("no room")), None);
        let on = Nomination::On("n".into());
        let patch = unscheduled(&pod(known("no room")), "Unschedulable", "no room", &on, now);
        assert_eq!(patch.map(|p| p["status"].clone()), Some(json!({"nominatedNodeName": "n"})));
    }
}
