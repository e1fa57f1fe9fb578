//! Keeps pods away from nodes that are not well: each condition that tells
//! so, and a cordon, become a taint.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store};

const WORKERS: usize = 8;
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The taint that a condition of this type and status leads to.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let nodes = setup.reflect::<Node>();
    let queue = Queue::new();
    let on_node = queue.clone();
    nodes.on_change(move |change| {
        if let Some(node) = change.after {
            on_node.add(Key::of(&node.metadata));
        }
    });
    let controller =
        NodeLifecycle { client: setup.client.clone(), clock: setup.clock.clone(), nodes: nodes.store() };
    setup.reconcile("node-lifecycle-controller", queue, WORKERS, controller);
}

struct NodeLifecycle {
    client: Client,
    clock: Clock,
    nodes: Arc<Store<Node>>,
}

impl Reconcile<Key> for NodeLifecycle {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(node) = self.nodes.get(key) else { return Ok(Next::Change) };
        if let Some(taints) = plan(&node, self.clock.now()) {
            // The revision: somebody else's taints must not be lost.
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints},
            });
            let api = Api::<Node>::all(self.client.clone());
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(Next::Change)
    }
}

/// The taints that `node` is to have, when they differ.
fn plan(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
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
            taints.push(Taint {
                key: key.into(),
                effect: "NoSchedule".into(),
                time_added: Some(Time(now)),
                value: None,
            });
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
            let taints = plan(&parsed, Timestamp::UNIX_EPOCH);
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
