//! Who owns the replicas of an object, told in the terms of its scale and back.
//!
//! A write to the scale is one to an `autoscaling/v1 Scale`, whose owners are
//! those of the object's replicas; what comes of it is written back into the
//! managedFields of the object.

use std::borrow::Cow;

use coracle_api::Resource;
use serde_json::{Value, json};

use super::{
    fieldset::FieldSet,
    managed::{self, Entry, assemble, encode},
};

const SCALE: &str = "autoscaling/v1";

/// The managedFields of the scale of an object that has `parent`.
pub fn of_scale(parent: Option<&Value>, resource: &Resource, path: &[Cow<'static, str>]) -> Option<Value> {
    let replicas = replicas(path);
    let replicas = FieldSet::decode(&replicas).ok()?;
    let own = self::replicas(BUILTIN);
    let own = FieldSet::decode(&own).ok()?;
    let entries = managed::decode(parent?)?.into_iter();
    let entries = entries.filter(|entry| known(resource, entry) && entry.fields.meets(&replicas));
    let scaled =
        entries.map(|entry| Entry { version: SCALE.into(), fields: own.clone(), kept: None, ..entry });
    assemble(encode(scaled.collect()), Value::Null)
}

/// The managedFields of an object that had `parent`, after a write that left
/// its scale with `scale`.
pub fn of_parent(
    parent: Option<&Value>,
    scale: Option<&Value>,
    resource: &Resource,
    path: &[Cow<'static, str>],
) -> Option<Value> {
    let replicas = replicas(path);
    // A scale has its replicas where built-in kinds have them.
    let own = self::replicas(BUILTIN);
    let own = FieldSet::decode(&own).ok()?;
    let replicas = FieldSet::decode(&replicas).ok()?;
    let before = parent.map_or_else(|| Some(Vec::new()), managed::decode)?;
    let mut scaled = scale.map_or_else(|| Some(Vec::new()), managed::decode)?;
    let mut after: Vec<Entry<'_>> = Vec::new();
    for entry in before.iter().filter(|entry| known(resource, entry)) {
        if !entry.fields.meets(&replicas) {
            after.push(entry.clone());
            continue;
        }
        match scaled.iter().position(|it| it.same_manager(entry)) {
            Some(place) => {
                scaled.remove(place);
                after.push(entry.clone());
            }
            None => {
                let fields = entry.fields.difference(&replicas);
                if !fields.is_empty() {
                    after.push(Entry { fields, kept: None, ..entry.clone() });
                }
            }
        }
    }
    for entry in scaled.into_iter().filter(|entry| entry.fields.meets(&own)) {
        after.retain(|it| !it.same_manager(&entry));
        // Upstream looks the time up by the name of the scale's manager, under
        // which the object knows appliers only.
        let time = before.iter().find(|it| it.same_manager(&entry)).and_then(|it| it.time.clone());
        let version = resource.api_version().to_string().into();
        after.push(Entry { version, time, fields: replicas.clone(), kept: None, ..entry });
    }
    assemble(encode(after), parent.cloned().unwrap_or_default())
}

const BUILTIN: &[Cow<'static, str>] = &[Cow::Borrowed("spec"), Cow::Borrowed("replicas")];

// The set of the field at a path alone.
fn replicas(path: &[Cow<'static, str>]) -> Value {
    path.iter().rev().fold(json!({}), |below, name| json!({ (format!("f:{name}")): below }))
}

// Entries of other groups do not say where the replicas are.
fn known(resource: &Resource, entry: &Entry<'_>) -> bool {
    entry.version.rsplit_once('/').map_or("", |(group, _)| group) == resource.gvk.group
}

#[cfg(test)]
mod tests {
    use coracle_api::facts;

    use super::*;

    fn deployments() -> &'static Resource {
        let found = facts::RESOURCES.iter().find(|it| it.gvk.group == "apps" && it.plural == "deployments");
        found.expect("a kind")
    }

    fn entry(who: &str, version: &str, part: &str, time: Option<&str>, fields: Value) -> Value {
        let (manager, operation) = who.split_once(' ').expect("a manager and an operation");
        let mut entry = json!({ "manager": manager, "operation": operation, "apiVersion": version,
            "fieldsType": "FieldsV1", "fieldsV1": fields });
        if !part.is_empty() {
            entry["subresource"] = part.into();
        }
        if let Some(time) = time {
            entry["time"] = time.into();
        }
        entry
    }

    const TIME: Option<&str> = Some("2026-11-24T06:10:30Z");

    #[test]
    fn the_owners_of_a_scale_are_those_of_the_replicas() {
        let other = json!({ "f:spec": { "f:paused": {} } });
        let both = json!({ "f:spec": { "f:paused": {}, "f:replicas": {} } });
        let parent = json!([
            entry("a Update", "apps/v1", "", TIME, both.clone()),
            entry("b Apply", "apps/v1beta1", "", TIME, replicas(BUILTIN)),
            entry("c Update", "apps/v1", "", TIME, other),
            entry("d Update", "extensions/v1beta1", "", TIME, both),
        ]);
        let expected = json!([
            entry("b Apply", SCALE, "", TIME, replicas(BUILTIN)),
            entry("a Update", SCALE, "", TIME, replicas(BUILTIN)),
        ]);
        assert_eq!(of_scale(Some(&parent), deployments(), BUILTIN), Some(expected));
        assert_eq!(of_scale(None, deployments(), BUILTIN), None);
    }

    #[test]
    fn what_a_scale_says_is_said_of_the_object() {
        let other = json!({ "f:spec": { "f:paused": {} } });
        let both = json!({ "f:spec": { "f:paused": {}, "f:replicas": {} } });
        let check = |parent: Value, scale: Value, expected: Value| {
            assert_eq!(of_parent(Some(&parent), Some(&scale), deployments(), BUILTIN), Some(expected));
        };
        // Somebody else scales; a new owner has no time.
        check(
            json!([entry("a Update", "apps/v1", "", TIME, both.clone())]),
            json!([entry("b Update", SCALE, "scale", TIME, replicas(BUILTIN))]),
            json!([
                entry("b Update", "apps/v1", "scale", None, replicas(BUILTIN)),
                entry("a Update", "apps/v1", "", TIME, other.clone()),
            ]),
        );
        // An applier that keeps the replicas keeps its entry.
        check(
            json!([entry("a Apply", "apps/v1", "", TIME, both.clone())]),
            json!([entry("a Apply", SCALE, "", TIME, replicas(BUILTIN))]),
            json!([entry("a Apply", "apps/v1", "", TIME, both)]),
        );
        // Who owned nothing but the replicas, and lost them, is gone.
        check(
            json!([
                entry("a Update", "apps/v1", "", TIME, replicas(BUILTIN)),
                entry("c Update", "apps/v1", "", TIME, other.clone())
            ]),
            json!([]),
            json!([entry("c Update", "apps/v1", "", TIME, other)]),
        );
    }
}
