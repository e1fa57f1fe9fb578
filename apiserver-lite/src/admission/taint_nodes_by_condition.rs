//! A node is born not ready: nothing is scheduled onto it before the node
//! controller has seen it ready and taken the taint away.

use coracle_api::Object;
use serde_json::{Value, json};

use super::Attributes;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Taints a new node.
pub fn admit(attributes: &Attributes<'_>, new: &mut Object) {
    if !attributes.creates() || !attributes.is_core("nodes") {
        return;
    }
    let taints = new.section_mut("spec").entry("taints").or_insert(Value::Null);
    if !taints.is_array() {
        *taints = json!([]);
    }
    let Some(taints) = taints.as_array_mut() else { return };
    if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
        taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
    }
}
