//! A pod carries the zone and the region of its node.

use coracle_api::Object;
use serde_json::{Map, Value};

use super::Attributes;
use crate::{
    error::ApiError,
    registry::{Registry, lookup},
};

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a pod that is created with a node.
///
/// # Errors
/// When the node cannot be looked up.
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    if !attributes.creates() || !attributes.is_core("pods") {
        return Ok(());
    }
    let node = new.get_str(&["spec", "nodeName"]).to_owned();
    label(attributes.registry, new, &node).await
}

/// Labels a binding, whose labels its pod gets.
///
/// # Errors
/// When the node cannot be looked up.
pub async fn bind(registry: &Registry, binding: &mut Object) -> Result<(), ApiError> {
    if binding.get_str(&["target", "kind"]) != "Node" {
        return Ok(());
    }
    let node = binding.get_str(&["target", "name"]).to_owned();
    label(registry, binding, &node).await
}

async fn label(registry: &Registry, object: &mut Object, node: &str) -> Result<(), ApiError> {
    let Some(node) = lookup::object(registry, ("", "nodes"), "", node).await? else { return Ok(()) };
    let topology: Map<String, Value> = node
        .labels()
        .filter(|(key, _)| LABELS.contains(key))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if topology.is_empty() {
        return Ok(());
    }
    let mut labels = object.meta("labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.extend(topology);
    object.set_meta("labels", Some(Value::Object(labels)));
    Ok(())
}
