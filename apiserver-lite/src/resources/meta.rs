//! The rules of `ObjectMeta`, which every kind has.
//!
//! Upstream runs [`validate`] on creates, and on updates [`validate`] with
//! `format::name_is_path_segment` as the rule for names, then
//! [`validate_update`]. Built-in kinds check [`finalizer_names`] after either.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, facts::meta_v1, field::go_quote, format};
use serde_json::{Map, Value};

use super::rules::{self, Check, Errors, IMMUTABLE, NOT_NEGATIVE, Place, Rule};
use crate::schema::go_order;

// Keys and values together.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Validates the metadata of a new object, whose name has been generated.
/// `name_rule` is the kind's [`super::Strategy::name`].
pub fn validate(
    new: &Object,
    namespaced: bool,
    name_rule: impl Fn(&str, bool) -> Vec<String>,
) -> Vec<FieldError> {
    let path = FieldPath::new("metadata");
    let mut errors = Vec::new();
    name("generateName", new.meta_str("generateName"), |name| name_rule(name, true), &mut errors);
    if new.name().is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    }
    name("name", new.name(), |name| name_rule(name, false), &mut errors);
    match (namespaced, new.namespace()) {
        (true, "") => errors.push(FieldError::required(&path.child("namespace"), "")),
        (true, namespace) => name("namespace", namespace, format::dns1123_label, &mut errors),
        (false, "") => {}
        (false, _) => {
            errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
        }
    }
    if new.generation() < 0 {
        errors.push(FieldError::invalid(&path.child("generation"), new.generation(), NOT_NEGATIVE));
    }
    let object = Place::object(new, None);
    rules::check(NEW, &object, &mut errors);
    errors
}

/// Validates what an update does to the metadata.
pub fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("metadata");
    let mut errors = Vec::new();
    if old.deleting() {
        let before: BTreeSet<&str> = old.finalizers().collect();
        let added: BTreeSet<&str> = new.finalizers().filter(|it| !before.contains(it)).collect();
        if !added.is_empty() {
            let added: Vec<String> = added.into_iter().map(go_quote).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), detail));
        }
    }
    if new.resource_version().is_empty() {
        let path = path.child("resourceVersion");
        errors.push(FieldError::invalid(&path, "", "must be specified for an update"));
    }
    let generation = path.child("generation");
    if new.generation() < 0 {
        errors.push(FieldError::invalid(&generation, new.generation(), NOT_NEGATIVE));
    }
    if new.generation() < old.generation() {
        errors.push(FieldError::invalid(&generation, new.generation(), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid"] {
        if new.meta_str(field) != old.meta_str(field) {
            errors.push(FieldError::invalid(&path.child(field), new.meta_str(field), IMMUTABLE));
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let set = |object: &Object| object.meta(field).cloned().unwrap_or_default();
        if set(new) != set(old) {
            errors.push(FieldError::invalid(&path.child(field), set(new), IMMUTABLE));
        }
    }
    let object = Place::object(new, None);
    rules::check(UPDATED, &object, &mut errors);
    errors
}

/// Takes back what a write to a part of the object, `/status` for most kinds,
/// did to the metadata of the whole.
pub fn keep(new: &mut Object, old: &Object) {
    for field in [
        "deletionTimestamp",
        "generation",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        new.set_meta(field, old.meta(field).cloned());
    }
}

/// The finalizers of a built-in kind: a name without a domain must be one that
/// Kubernetes itself uses. Custom resources, CRDs, API services and the kinds
/// of admissionregistration are not checked so.
pub fn finalizer_names(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("metadata").child("finalizers");
    let ours = ["kubernetes", "orphan", "foregroundDeletion"];
    let odd = new.finalizers().enumerate().filter(|(_, name)| !name.contains('/') && !ours.contains(name));
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    odd.map(|(index, name)| FieldError::invalid(&path.index(index), name, detail)).collect()
}

static COMMON: &[Check] = &[
    Check::With(|metadata, errors| {
        if let Some(labels) = metadata.field("labels") {
            validate_labels(&labels, errors);
        }
    }),
    Check::With(|metadata, errors| {
        if let Some(annotations) = metadata.field("annotations") {
            validate_annotations(&annotations, errors);
        }
    }),
    Check::Each("ownerReferences", OWNER),
    Check::With(one_controller),
];

static NEW: &[Check] = &[Check::Within(
    "metadata",
    &[Check::All(COMMON), Check::With(finalizers), Check::Each("managedFields", MANAGED)],
)];

static UPDATED: &[Check] =
    &[Check::Within("metadata", &[Check::All(COMMON), Check::Each("managedFields", MANAGED)])];

static OWNER: &[Check] = &[
    Check::Field("apiVersion", &[Rule::Required("must not be empty"), Rule::Format(owner_version)]),
    Check::Field("kind", &[Rule::Required("must not be empty")]),
    Check::Field("name", &[Rule::Required("must not be empty")]),
    Check::Field("uid", &[Rule::Required("must not be empty")]),
    Check::With(|owner, errors| {
        if owner.text("apiVersion") == "v1" && owner.text("kind") == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&owner.path(), owner.value().clone(), detail));
        }
    }),
];

static MANAGED: &[Check] = &[
    Check::Field("operation", &[Rule::Required("must not be empty"), Rule::OneOf(&["Apply", "Update"])]),
    Check::With(|entry, errors| {
        let kind = entry.text("fieldsType");
        if !kind.is_empty() && kind != "FieldsV1" {
            errors.push(FieldError::invalid(&entry.path_of("fieldsType"), kind, "must be `FieldsV1`"));
        }
    }),
    Check::Field("manager", &[Rule::MaxBytes(128)]),
    Check::With(|entry, errors| {
        let manager = entry.text("manager");
        for (position, character) in manager.char_indices().filter(|(_, it)| it.is_control()) {
            let detail = format!("invalid character U+{:04X} (at position {position})", u32::from(character));
            errors.push(FieldError::invalid(&entry.path_of("manager"), manager, detail));
        }
    }),
    Check::Field("subresource", &[Rule::MaxBytes(256)]),
];

fn name(field: &str, name: &str, rule: impl Fn(&str) -> Vec<String>, errors: &mut Errors) {
    if !name.is_empty() {
        let path = FieldPath::new("metadata").child(field);
        errors.extend(rule(name).into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
    }
}

/// Labels: keys are qualified names, values label values. `labels` is the
/// place of the map.
pub fn validate_labels(labels: &Place<'_>, errors: &mut Errors) {
    for (key, value) in labels.value().as_object().into_iter().flatten() {
        for fault in format::qualified_name(key) {
            errors.push(FieldError::invalid(&labels.path(), key.as_str(), fault));
        }
        let value = value.as_str().unwrap_or_default();
        for fault in format::label_value(value) {
            errors.push(FieldError::invalid(&labels.path(), value, fault));
        }
    }
}

/// Annotations: keys are qualified names in any case, 256 KiB in all.
pub fn validate_annotations(annotations: &Place<'_>, errors: &mut Errors) {
    let Some(map) = annotations.value().as_object() else { return };
    for key in map.keys() {
        for fault in format::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(&annotations.path(), key.as_str(), fault));
        }
    }
    if bytes(map) > MAX_ANNOTATION_BYTES {
        errors.push(FieldError::too_long(&annotations.path(), MAX_ANNOTATION_BYTES));
    }
}

/// The metadata of a template, whose objects take over labels and annotations only.
pub fn validate_template(metadata: &Place<'_>, errors: &mut Errors) {
    // In Go's order, and as upstream spells its fields there.
    const OTHERS: &[(&str, &str)] = &[
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    if let Some(annotations) = metadata.field("annotations") {
        validate_annotations(&annotations, errors);
    }
    if let Some(labels) = metadata.field("labels") {
        validate_labels(&labels, errors);
    }
    for (field, shown) in OTHERS {
        let unset = match metadata.get(field) {
            None => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(number) => *field == "generation" && number.as_i64() == Some(0),
        };
        if !unset {
            errors.push(FieldError::forbidden(&metadata.path_of(shown), "cannot be set"));
        }
    }
}

fn bytes(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

fn owner_version(version: &str) -> Vec<String> {
    let parts: Vec<&str> = version.split('/').collect();
    let right = parts.len() <= 2 && parts.last().is_some_and(|version| !version.is_empty());
    if right { Vec::new() } else { vec!["must be <group>/<version> or <version>".to_owned()] }
}

fn one_controller(metadata: &Place<'_>, errors: &mut Errors) {
    let owners = metadata.list("ownerReferences");
    let mut first: Option<String> = None;
    for owner in owners.iter().filter(|owner| owner["controller"] == true) {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let controller = format!("{}/{}", text("kind"), text("name"));
        match &first {
            None => first = Some(controller),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {controller}"
                );
                let error = FieldError::invalid(&metadata.path_of("ownerReferences"), owners, detail);
                errors.push(error.showing(go_order::list(owners, &meta_v1::OWNER_REFERENCE)));
            }
        }
    }
}

fn finalizers(metadata: &Place<'_>, errors: &mut Errors) {
    let path = metadata.path_of("finalizers");
    let names: Vec<&str> = metadata.texts("finalizers").collect();
    for name in &names {
        for fault in format::qualified_name(name) {
            errors.push(FieldError::invalid(&path, *name, fault));
        }
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path, names, detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(metadata: Value) -> Object {
        Object(Map::from_iter([("metadata".to_owned(), metadata)]))
    }

    fn check(errors: Vec<FieldError>, expected: &[&str]) {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected);
    }

    fn check_new(metadata: Value, namespaced: bool, expected: &[&str]) {
        check(validate(&object(metadata), namespaced, format::name_is_path_segment), expected);
    }

    #[test]
    fn names_and_namespaces() {
        check_new(json!({"name": "a", "namespace": "b"}), true, &[]);
        check_new(json!({"name": "a"}), false, &[]);
        check_new(
            json!({"generateName": "a/"}),
            true,
            &[
                "metadata.generateName: Invalid value: \"a/\": may not contain '/'",
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value",
            ],
        );
        check_new(
            json!({"name": "..", "namespace": "a"}),
            false,
            &[
                "metadata.name: Invalid value: \"..\": may not be '..'",
                "metadata.namespace: Forbidden: not allowed on this type",
            ],
        );
    }

    // Expected texts are the real API server's.
    #[test]
    fn everything_else_in_order() {
        let label = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        check_new(
            json!({
                "name": "a", "generation": -1, "labels": {"a b": "x"}, "annotations": {"x y": "1"},
                "ownerReferences": [
                    {"apiVersion": "a/b/c", "kind": "X", "name": "", "uid": "u"},
                    {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "v", "controller": true},
                    {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "w", "controller": true},
                ],
                "finalizers": ["a.b/x", "orphan", "foregroundDeletion"],
                "managedFields": [{"operation": "X", "fieldsType": "V2"}],
            }),
            false,
            &[
                "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
                &format!("metadata.labels: Invalid value: \"a b\": name part {label}"),
                &format!("metadata.annotations: Invalid value: \"x y\": name part {label}"),
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"a/b/c\": must be <group>/<version> or <version>",
                "metadata.ownerReferences[0].name: Required value: must not be empty",
                "metadata.ownerReferences[1]: Invalid value: {\"apiVersion\":\"v1\",\"controller\":true,\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"v\"}: /v1, Kind=Event is disallowed from being an owner",
                "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"a/b/c\",\"kind\":\"X\",\"name\":\"\",\"uid\":\"u\"},{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"v\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"w\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for Event/e and Pod/p",
                "metadata.finalizers: Invalid value: [\"a.b/x\",\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
                "metadata.managedFields[0].operation: Unsupported value: \"X\": supported values: \"Apply\", \"Update\"",
                "metadata.managedFields[0].fieldsType: Invalid value: \"V2\": must be `FieldsV1`",
            ],
        );
        let big = json!({"name": "a", "annotations": {"x": "y".repeat(MAX_ANNOTATION_BYTES)}});
        check_new(big, false, &["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn updates() {
        let old = json!({"name": "a", "uid": "u", "resourceVersion": "1", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(validate_update(&object(old.clone()), &object(old.clone())), &[]);
        check(
            validate_update(
                &object(json!({"name": "b", "uid": "v", "generation": 1, "finalizers": ["x/y", "a/b"]})),
                &object(old),
            ),
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a/b\", \"x/y\"}",
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.generation: Invalid value: 1: must not be decremented",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"v\": field is immutable",
                "metadata.creationTimestamp: Invalid value: null: field is immutable",
                "metadata.deletionTimestamp: Invalid value: null: field is immutable",
            ],
        );
    }

    #[test]
    fn finalizers_of_built_in_kinds() {
        let new = object(json!({"finalizers": ["kubernetes", "x", "a.b/c"]}));
        check(
            finalizer_names(&new),
            &[
                "metadata.finalizers[1]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
            ],
        );
    }
}
