//! The scale of an object: its replicas, wanted and there, and who they are.

use coracle_api::{FieldError, LabelSelector, Object, Resource, field::FieldPath};
use serde_json::{Value, json};

use super::{
    change::{Change, Changed},
    metadata,
};
use crate::{
    apply::{self, Writer},
    error::{ApiError, Subject},
};

/// The `autoscaling/v1 Scale` of an object.
///
/// # Errors
/// 400 for a selector that cannot be read.
pub fn of(object: &Object) -> Result<Object, ApiError> {
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.meta(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let replicas = object.get(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let there = object.get(&["status", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({ "replicas": there });
    let selector = selector(object)?;
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
    });
    Ok(Object::from_value(scale).unwrap_or_default())
}

// Replication controllers select by a plain map.
fn selector(object: &Object) -> Result<String, ApiError> {
    let Some(selector) = object.get(&["spec", "selector"]) else { return Ok(String::new()) };
    let plain = selector.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let selector = if plain { json!({ "matchLabels": selector }) } else { selector.clone() };
    LabelSelector::from_value(&selector)
        .map(|it| it.to_string())
        .map_err(|error| ApiError::BadRequest(error.to_string()))
}

fn check_uid(scale: &Object, facts: &Resource, current: &Object) -> Result<(), ApiError> {
    let (uid, there) = (scale.uid(), current.uid());
    if uid.is_empty() || uid == there {
        return Ok(());
    }
    let subject = Subject { kind: format!("{}/scale", facts.plural), ..Subject::of(facts, current.name()) };
    let reason = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {there}");
    Err(ApiError::Conflict { subject, reason })
}

/// The object after `change` to its scale.
///
/// # Errors
/// As the change; 422 for a number of replicas that cannot be.
pub fn change(
    change: &Change,
    facts: &Resource,
    current: &Object,
    writer: &Writer<'_>,
) -> Result<Changed, ApiError> {
    let scale = facts.subresource("scale").and_then(|it| it.schema.clone());
    let scale_facts = Resource {
        gvk: coracle_api::GroupVersionKind {
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
        },
        schema: scale.unwrap_or_else(|| facts.schema.clone()),
        ..facts.clone()
    };
    let mut before = of(current)?;
    before.set_meta("managedFields", apply::scale::of_scale(current.meta("managedFields"), facts));
    let mut changed = change.onto(&scale_facts, &before, writer)?;
    if !matches!(change, Change::Apply(_)) {
        apply::updated(&scale_facts, Some(&before), &mut changed.object, writer);
    }
    if !matches!(change, Change::Replace(_)) {
        metadata::place(&mut changed.object, facts.namespaced, current.namespace())?;
        metadata::check_name(&changed.object, current.name())?;
    }
    let wanted = changed.object.get(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if wanted < 0 {
        let path = FieldPath::new("spec").child("replicas");
        let errors = vec![FieldError::invalid(&path, wanted, "must be greater than or equal to 0")];
        let subject =
            Subject { group: "autoscaling".into(), kind: "Scale".into(), name: current.name().to_owned() };
        return Err(ApiError::Invalid { subject, errors });
    }
    check_uid(&changed.object, facts, current)?;
    let mut object = current.clone();
    object.section_mut("spec").insert("replicas".to_owned(), wanted.into());
    let owners = changed.object.meta("managedFields");
    object.set_meta("managedFields", apply::scale::of_parent(current.meta("managedFields"), owners, facts));
    for field in ["resourceVersion", "uid"] {
        object.set_meta(field, changed.object.meta(field).cloned());
    }
    Ok(Changed { object, warnings: changed.warnings })
}
