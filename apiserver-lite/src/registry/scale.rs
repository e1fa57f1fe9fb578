//! The scale of an object: its replicas, wanted and there, and who they are.

use std::{borrow::Cow, sync::Arc};

use coracle_api::{FieldError, LabelSelector, Object, Resource, field::FieldPath, schema::Ref};
use serde_json::{Value, json};

use super::{
    change::{Change, Changed},
    metadata,
};
use crate::{
    apply::{self, Writer},
    error::{ApiError, Subject},
    resources::{Plain, Row, ScalePaths},
};

/// The `autoscaling/v1 Scale` of an object.
///
/// # Errors
/// 400 for a selector that cannot be read.
pub fn of(object: &Object, paths: &ScalePaths) -> Result<Object, ApiError> {
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.meta(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let replicas = at(object, &paths.replicas).and_then(Value::as_i64).unwrap_or(0);
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let there = at(object, &paths.current).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({ "replicas": there });
    let selector = match (&paths.selector, paths.custom) {
        (Some(path), _) => at(object, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
        (None, true) => String::new(),
        (None, false) => selector(object)?,
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
    });
    Ok(Object::from_value(scale).unwrap_or_default())
}

/// The value at a path.
pub fn at<'a>(object: &'a Object, path: &[Cow<'static, str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(object.0.get(first.as_ref())?, |value, name| value.get(name.as_ref()))
}

fn put(object: &mut Object, path: &[Cow<'static, str>], value: Value) {
    let Some((last, path)) = path.split_last() else { return };
    let mut map = &mut object.0;
    for name in path {
        let slot = map.entry(name.to_string()).or_insert_with(|| json!({}));
        if !slot.is_object() {
            *slot = json!({});
        }
        let Value::Object(inner) = slot else { return };
        map = inner;
    }
    map.insert(last.to_string(), value);
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
    row: &Row,
    current: &Object,
    writer: &Writer<'_>,
) -> Result<Changed, ApiError> {
    let facts: &Resource = &row.facts;
    let paths = row.strategy.scale();
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
    let mut before = of(current, paths)?;
    let owners = apply::scale::of_scale(current.meta("managedFields"), facts, &paths.replicas);
    before.set_meta("managedFields", owners);
    let scale_row = Row {
        facts: Ref::Shared(Arc::new(scale_facts)),
        strategy: Arc::new(Plain),
        columns: Cow::Borrowed(&[]),
    };
    let scale_facts: &Resource = &scale_row.facts;
    let mut changed = change.onto(&scale_row, &before, writer)?;
    if !matches!(change, Change::Apply(_)) {
        apply::updated(scale_facts, Some(&before), &mut changed.object, writer);
    }
    if !matches!(change, Change::Replace(_)) {
        metadata::place(&mut changed.object, facts.namespaced, current.namespace())?;
        metadata::check_name(&changed.object, current.name())?;
    }
    let wanted = changed.object.get(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    // Of a custom resource its own schema says so.
    if wanted < 0 && !paths.custom {
        let path = FieldPath::new("spec").child("replicas");
        let errors = vec![FieldError::invalid(&path, wanted, "must be greater than or equal to 0")];
        let subject =
            Subject { group: "autoscaling".into(), kind: "Scale".into(), name: current.name().to_owned() };
        return Err(ApiError::Invalid { subject, errors });
    }
    check_uid(&changed.object, facts, current)?;
    let mut object = current.clone();
    put(&mut object, &paths.replicas, wanted.into());
    let owners = changed.object.meta("managedFields");
    object.set_meta(
        "managedFields",
        apply::scale::of_parent(current.meta("managedFields"), owners, facts, &paths.replicas),
    );
    for field in ["resourceVersion", "uid"] {
        object.set_meta(field, changed.object.meta(field).cloned());
    }
    Ok(Changed { object, warnings: changed.warnings })
}
