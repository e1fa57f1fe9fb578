//! What makes a CRD's schema structural: every part says its type, and what
//! is combined (`allOf`, `anyOf`, `oneOf`, `not`) only says what values are to
//! be, not what there is.

use coracle_api::{FieldError, FieldPath};
use serde_json::{Value, json};

use crate::{
    custom::schema::compile,
    resources::tree::{entries, list, set, text, truth},
};

/// What keeps the schemas of a spec from being structural.
pub fn violations(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, version) in list(&spec["versions"]).iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            let path = FieldPath::new("spec").child("versions").index(index);
            errors.extend(faults(schema, &path.child("schema").child("openAPIV3Schema")));
        }
    }
    errors
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, in the order of the texts.
pub fn faults(schema: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    part(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn kind(schema: &Value) -> &str {
    text(&schema["type"])
}

fn part(schema: &Value, level: Level, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if kind(schema) == "array" && !schema["items"].is_object() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        part(&schema["items"], Level::Item, &path.child("items"), errors);
    }
    for (name, property) in entries(&schema["properties"]) {
        part(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = &schema["additionalProperties"];
    if set(additional) {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if additional.is_object() {
            part(additional, Level::Field, &at, errors);
        }
    }
    extensions(schema, path, errors);
    let skip = Skip { any_of: is_int_or_string(&schema["anyOf"]), first: starts_so(&schema["allOf"]) };
    values(schema, skip, path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
    let bare = truth(&schema["x-kubernetes-embedded-resource"])
        && !truth(&schema["x-kubernetes-preserve-unknown-fields"])
        && entries(&schema["properties"]).next().is_none();
    if bare {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
}

fn extensions(schema: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if !truth(&schema["x-kubernetes-int-or-string"]) {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if truth(&schema[name]) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(name), true, detail));
        }
    }
}

fn types(schema: &Value, level: Level, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let at = path.child("type");
    let kind = kind(schema);
    let embedded = truth(&schema["x-kubernetes-embedded-resource"]);
    let open = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(&at, detail),
            kind => FieldError::invalid(&at, kind, detail),
        });
    } else if kind.is_empty() && !open.iter().any(|it| truth(&schema[*it])) {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, detail));
    }
    if embedded && set(&schema["additionalProperties"]) {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&at, kind, "must be object at the root"));
    }
}

// What is the same in all objects is not to be restricted.
fn metadata(schema: &Value, level: Level, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let checked = level == Level::Root || truth(&schema["x-kubernetes-embedded-resource"]);
    let properties = &schema["properties"];
    let at = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if checked && set(&properties[name]) && kind(&properties[name]) != "string" {
            let at = at.key(name).child("type");
            errors.push(FieldError::invalid(&at, kind(&properties[name]), "must be string"));
        }
    }
    let metadata = &properties["metadata"];
    if !metadata.is_object() {
        return;
    }
    let at = at.key("metadata");
    if checked && kind(metadata) != "object" {
        errors.push(FieldError::invalid(&at.child("type"), kind(metadata), "must be object"));
    }
    if level == Level::Root && !names_only(metadata) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&at, detail));
    }
}

fn names_only(metadata: &Value) -> bool {
    let fields = metadata.as_object().into_iter().flatten();
    let allowed = |name: &str, value: &Value| match name {
        "type" | "default" => true,
        "properties" => entries(value).all(|(name, _)| matches!(name, "name" | "generateName")),
        _ => {
            value.is_null()
                || *value == json!(false)
                || *value == json!([])
                || *value == json!("")
                || *value == json!({})
        }
    };
    fields.into_iter().all(|(name, value)| allowed(name, value))
}

// Which parts of a schema are the two ways to say int-or-string.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first: bool,
}

fn is_int_or_string(any_of: &Value) -> bool {
    *any_of == json!([{ "type": "integer" }, { "type": "string" }])
}

fn starts_so(all_of: &Value) -> bool {
    list(all_of).first().is_some_and(|first| is_int_or_string(&first["anyOf"]))
}

fn values(schema: &Value, skip: Skip, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if !skip.any_of {
        for (index, it) in list(&schema["anyOf"]).iter().enumerate() {
            nested(it, false, &path.child("anyOf").index(index), errors);
        }
    }
    for (index, it) in list(&schema["allOf"]).iter().enumerate() {
        nested(it, skip.first && index == 0, &path.child("allOf").index(index), errors);
    }
    for (index, it) in list(&schema["oneOf"]).iter().enumerate() {
        nested(it, false, &path.child("oneOf").index(index), errors);
    }
    if schema["not"].is_object() {
        nested(&schema["not"], false, &path.child("not"), errors);
    }
    let pattern = text(&schema["pattern"]);
    if !pattern.is_empty()
        && let Err(error) = compile(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, detail));
    }
}

// What a combined schema may say.
fn nested(schema: &Value, skip_any_of: bool, path: &FieldPath, errors: &mut Vec<FieldError>) {
    values(schema, Skip { any_of: skip_any_of, first: false }, path, errors);
    if schema["items"].is_object() {
        nested(&schema["items"], false, &path.child("items"), errors);
    }
    for (name, property) in entries(&schema["properties"]) {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let mut forbid = |set: bool, name: &str, detail: &str| {
        if set {
            errors.push(FieldError::forbidden(&path.child(name), detail));
        }
    };
    let said = |name: &str| !text(&schema[name]).is_empty();
    let additional = &schema["additionalProperties"];
    forbid(said("type"), "type", "must be empty to be structural");
    forbid(
        additional.is_object() || truth(additional),
        "additionalProperties",
        "must be undefined to be structural",
    );
    forbid(set(&schema["default"]), "default", "must be undefined to be structural");
    forbid(said("title"), "title", "must be empty to be structural");
    forbid(said("description"), "description", "must be empty to be structural");
    for name in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        forbid(truth(&schema[name]), name, "must be false to be structural");
    }
    let keys = "x-kubernetes-list-map-keys";
    forbid(!list(&schema[keys]).is_empty(), keys, "must be empty to be structural");
    for name in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        forbid(set(&schema[name]), name, "must be undefined to be structural");
    }
    let rules = "x-kubernetes-validations";
    forbid(!list(&schema[rules]).is_empty(), rules, "must be empty to be structural");
    if set(&schema["properties"]["metadata"]) {
        let at = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
    }
}

// Whatever a combined schema speaks of must be there in the schema itself.
// Upstream looks at the root only.
fn complete(schema: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (name, it) in combined(schema) {
        has_all(it, schema, path, &combined_path(path, &name), errors);
    }
}

fn combined(schema: &Value) -> Vec<((&'static str, Option<usize>), &Value)> {
    let mut all = Vec::new();
    for name in ["anyOf", "allOf", "oneOf"] {
        all.extend(list(&schema[name]).iter().enumerate().map(|(index, it)| ((name, Some(index)), it)));
    }
    if schema["not"].is_object() {
        all.push((("not", None), &schema["not"]));
    }
    all
}

fn combined_path(path: &FieldPath, (name, index): &(&str, Option<usize>)) -> FieldPath {
    let at = path.child(name);
    index.map_or_else(|| at.clone(), |index| at.index(index))
}

// `at` is where the structure would be, `from` where it is spoken of.
fn has_all(nested: &Value, schema: &Value, at: &FieldPath, from: &FieldPath, errors: &mut Vec<FieldError>) {
    if nested["items"].is_object() {
        let (at, from) = (at.child("items"), from.child("items"));
        if schema["items"].is_object() {
            has_all(&nested["items"], &schema["items"], &at, &from, errors);
        } else {
            errors.push(FieldError::required(&at, format!("because it is defined in {from}")));
        }
    }
    for (name, property) in entries(&nested["properties"]) {
        let (at, from) = (at.child("properties").key(name), from.child("properties").key(name));
        let there = &schema["properties"][name];
        if there.is_object() {
            has_all(property, there, &at, &from, errors);
        } else {
            errors.push(FieldError::required(&at, format!("because it is defined in {from}")));
        }
    }
    for (name, it) in combined(nested) {
        has_all(it, schema, at, &combined_path(from, &name), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value, expected: &[&str]) {
        let said: Vec<String> =
            faults(&schema, &FieldPath::new("s")).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{schema}");
    }

    #[test]
    fn every_part_has_a_type() {
        check(
            json!({ "type": "object", "properties": { "a": { "x-kubernetes-int-or-string": true } } }),
            &[],
        );
        check(
            json!({ "properties": { "spec": {} } }),
            &[
                "s.properties[spec].type: Required value: must not be empty for specified object fields",
                "s.type: Required value: must not be empty at the root",
            ],
        );
        check(
            json!({ "type": "array", "items": {} }),
            &[
                "s.items.type: Required value: must not be empty for specified array items",
                "s.type: Invalid value: \"array\": must be object at the root",
            ],
        );
    }

    #[test]
    fn combined_schemas_say_nothing_of_structure() {
        check(
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "anyOf": [
                { "type": "object", "properties": { "a": { "pattern": "x" }, "b": { "description": "y" } } },
            ] }),
            &[
                "s.anyOf[0].properties[b].description: Forbidden: must be empty to be structural",
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
            ],
        );
        check(
            json!({ "type": "object", "properties": { "a": {
                "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
            } } }),
            &[],
        );
    }

    #[test]
    fn metadata_is_left_alone() {
        let root = |metadata: Value| json!({ "type": "object", "properties": { "metadata": metadata } });
        check(
            root(json!({ "type": "object", "properties": { "name": { "maxLength": 3, "type": "string" } } })),
            &[],
        );
        check(
            root(json!({ "type": "object", "properties": { "labels": { "type": "object" } } })),
            &[
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        );
    }
}
