//! A pod stays on a node that is not ready or not reachable for five minutes,
//! where it does not say otherwise.

use coracle_api::Object;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::resources::{Part, tree::text};

const SECONDS: i64 = 300;
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Gives a pod the tolerations that it lacks.
pub fn admit(attributes: &Attributes<'_>, new: &mut Object) {
    let whole = attributes.part == Part::Whole && attributes.operation != Operation::Delete;
    if !whole || !attributes.is_core("pods") {
        return;
    }
    let tolerations = new.section_mut("spec").entry("tolerations").or_insert(Value::Null);
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    let lacking: Vec<&str> = TAINTS
        .iter()
        .copied()
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .collect();
    tolerations.extend(lacking.into_iter().map(|key| {
        json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS })
    }));
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let (key, effect) = (text(&toleration["key"]), text(&toleration["effect"]));
    (key == taint || key.is_empty()) && matches!(effect, "NoExecute" | "")
}
