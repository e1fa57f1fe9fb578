//! The taints of a node that is not well.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::ready;
use crate::framework::{Error, absent};

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The taint that a condition of this type and status leads to.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Writes the taints of `node`, provided that it has not changed: somebody
/// else's must not be lost.
pub(super) async fn write(api: &Api<Node>, node: &Node, taints: &[Taint]) -> Result<(), Error> {
    let patch = json!({
        "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
        "spec": {"taints": taints},
    });
    let name = node.metadata.name.as_deref().unwrap_or_default();
    absent(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await).map(drop)
}

/// The taint that drives pods away from `node` as its condition `Ready` is.
pub(super) fn driving(node: &Node) -> Option<&'static str> {
    match ready(node)?.status.as_str() {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// The taints that drive pods away from `node`.
pub(super) fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| drives(taint))
}

fn drives(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

/// The taints of `node` when of those that drive pods away it has only
/// `key`, if they differ.
pub(super) fn with_no_execute(node: &Node, key: Option<&str>, now: Timestamp) -> Option<Vec<Taint>> {
    let has = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let kept = |taint: &&Taint| !drives(taint) || key == Some(&taint.key);
    let mut taints: Vec<Taint> = has.iter().filter(kept).cloned().collect();
    if let Some(key) = key.filter(|key| !taints.iter().any(|taint| drives(taint) && taint.key == *key)) {
        taints.push(added(key, "NoExecute", now));
    }
    (taints != has).then_some(taints)
}

fn added(key: &str, effect: &str, now: Timestamp) -> Taint {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Taint { key: key.into(), effect: effect.into(), time_added: Some(Time(now)), value: None }
}

/// The taints that `node` is to have that keep new pods away, when they
/// differ.
pub(super) fn no_schedule(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut wanted: Vec<&str> = TAINTS
        .iter()
        .filter(|(type_, status, _)| conditions.iter().any(|c| c.type_ == *type_ && c.status == *status))
        .map(|(.., key)| *key)
        .collect();
    if spec.unschedulable == Some(true) {
        wanted.push(UNSCHEDULABLE);
    }
    let has = spec.taints.unwrap_or_default();
    let ours = |taint: &Taint| {
        taint.effect == "NoSchedule"
            && (taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(.., key)| *key == taint.key))
    };
    let mut taints: Vec<Taint> =
        has.iter().filter(|taint| !ours(taint) || wanted.contains(&taint.key.as_str())).cloned().collect();
    for key in wanted {
        if !taints.iter().any(|taint| ours(taint) && taint.key == key) {
            taints.push(added(key, "NoSchedule", now));
        }
    }
    (taints != has).then_some(taints)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn conditions_become_taints() {
        let check = |node: Value, expected: Option<&[&str]>| {
            let parsed: Node = serde_json::from_value(node.clone()).unwrap();
            let taints = no_schedule(&parsed, Timestamp::UNIX_EPOCH);
            let keys =
                taints.as_ref().map(|taints| taints.iter().map(|t| t.key.as_str()).collect::<Vec<_>>());
            assert_eq!(keys.as_deref(), expected, "{node}");
        };
        let node = |ready: &str, spec: Value| json!({"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let not_ready = || json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let mine = || json!({"key": "mine", "effect": "NoSchedule"});
        let evicting = || json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"});
        check(node("True", json!({})), None);
        check(node("True", json!({"taints": [not_ready()]})), Some(&[]));
        check(
            node("True", json!({"taints": [mine(), not_ready(), evicting()]})),
            Some(&["mine", "node.kubernetes.io/not-ready"]),
        );
        check(node("False", json!({})), Some(&["node.kubernetes.io/not-ready"]));
        check(node("False", json!({"taints": [not_ready()]})), None);
        check(node("Unknown", json!({"taints": [not_ready()]})), Some(&["node.kubernetes.io/unreachable"]));
        check(node("True", json!({"unschedulable": true})), Some(&[UNSCHEDULABLE]));
        check(json!({"spec": {}}), None);
    }
}
