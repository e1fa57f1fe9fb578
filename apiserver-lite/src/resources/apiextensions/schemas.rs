//! What a CRD's schema may say, beyond being structural.

use coracle_api::{FieldError, FieldPath};
use serde_json::{Value, json};

use super::{defaults, structural};
use crate::{
    custom::{
        Schema, cel,
        schema::{Kind, checked_format},
    },
    resources::{
        core::pods::internal::Internal,
        tree::{count, entries, list, set, text, texts, truth},
    },
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const KEYS: &str = "x-kubernetes-list-map-keys";

/// What is wrong with a version's schema. `status` says whether its status is
/// a part of its own.
pub fn faults(schema: &Value, status: bool, path: &FieldPath) -> Vec<FieldError> {
    let at = path.child("openAPIV3Schema");
    let mut errors = Vec::new();
    if status {
        errors.extend(root_with_status(schema, &at));
    }
    if truth(&schema["nullable"]) {
        errors.push(FieldError::forbidden(&at.child("nullable"), "nullable cannot be true at the root"));
    }
    let unsupported = unsupported(schema);
    if unsupported.is_none() {
        let structure = structural::faults(schema, &at);
        let sound = structure.is_empty();
        errors.extend(structure);
        if sound {
            errors.extend(defaults::faults(&Schema::parse(schema), &at));
        }
    }
    part(schema, &at, &Place { root: true, ..Place::default() }, &mut errors);
    if let (true, Some(detail)) = (errors.is_empty(), unsupported) {
        errors.push(FieldError::invalid(&at, "", detail));
    }
    errors
}

// The status is taken out of the root: what the root says of it would be lost.
fn root_with_status(schema: &Value, at: &FieldPath) -> Option<FieldError> {
    const ALLOWED: &[&str] = &[
        "description",
        "format",
        "title",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "multipleOf",
        "required",
        "items",
        "properties",
        "externalDocs",
        "example",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    // Those that upstream comes to before the type.
    const FIRST: &[&str] = &["id", "$schema", "$ref"];
    const NAMES: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
    let kind = text(&schema["type"]);
    // A pointer says something when it is there.
    let says = |name: &str, value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => {
            !text.is_empty() || ["$ref", LIST_TYPE, MAP_TYPE, "default", "example"].contains(&name)
        }
        _ => true,
    };
    let first = FIRST.iter().any(|name| says(name, &schema[*name]));
    if !first && !kind.is_empty() && kind != "object" {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid(&at.child("type"), kind, detail));
    }
    let odd =
        entries(schema).any(|(name, value)| name != "type" && says(name, value) && !ALLOWED.contains(&name));
    odd.then(|| {
        let detail = format!(
            "only {NAMES} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        let shown = Internal::read().compact("JSONSchemaProps", &held(schema));
        FieldError::invalid(at, schema.clone(), detail).showing(shown)
    })
}

// A schema with the fields that upstream holds its alternatives in.
fn held(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let all = |it: &Value| -> Value { list(it).iter().map(held).collect() };
    let each = |it: &Value, of: fn(&Value) -> Value| -> Value {
        Value::Object(entries(it).map(|(key, it)| (key.to_owned(), of(it))).collect())
    };
    let held = fields.iter().map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("items", Value::Array(_)) => json!({ "JSONSchemas": all(value) }),
            ("items", _) => json!({ "Schema": held(value) }),
            ("additionalProperties" | "additionalItems", Value::Bool(_)) => json!({ "Allows": value }),
            ("additionalProperties" | "additionalItems", _) => {
                json!({ "Allows": true, "Schema": held(value) })
            }
            ("allOf" | "oneOf" | "anyOf", _) => all(value),
            ("not", _) => held(value),
            ("properties" | "patternProperties" | "definitions", _) => each(value, held),
            ("dependencies", _) => each(value, |it| match it {
                Value::Array(_) => json!({ "Property": it }),
                _ => json!({ "Schema": held(it) }),
            }),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(held.collect())
}

/// What structural schemas cannot have at all.
pub fn unsupported(schema: &Value) -> Option<String> {
    for name in
        ["id", "schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"]
    {
        let key = if name == "schema" { "$schema" } else { name };
        let value = &schema[key];
        let there = name == "additionalItems" && set(value);
        if there || count(value) > 0 || !text(value).is_empty() {
            return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        }
    }
    if schema["items"].is_array() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    below(schema).into_iter().find_map(|(_, it)| unsupported(it))
}

// The schemas within a schema, with the way to them.
fn below(schema: &Value) -> Vec<(FieldPath, &Value)> {
    let root = FieldPath::default();
    let mut all = Vec::new();
    if schema["additionalProperties"].is_object() {
        all.push((root.child("additionalProperties"), &schema["additionalProperties"]));
    }
    for (name, it) in entries(&schema["properties"]) {
        all.push((root.child("properties").key(name), it));
    }
    if schema["not"].is_object() {
        all.push((root.child("not"), &schema["not"]));
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        all.extend(list(&schema[name]).iter().enumerate().map(|(at, it)| (root.child(name).index(at), it)));
    }
    if schema["items"].is_object() {
        all.push((root.child("items"), &schema["items"]));
    }
    all
}

// Where in a schema one is.
#[derive(Clone, Default)]
struct Place {
    root: bool,
    // Within the metadata or the kind of a resource.
    inside_meta: bool,
    // Why no default may stand there.
    no_defaults: Option<String>,
    // Whether it is only a part of what is said of a value.
    partial: bool,
    often: cel::Often,
}

fn part(schema: &Value, path: &FieldPath, place: &Place, errors: &mut Vec<FieldError>) {
    standard(schema, path, place, errors);
    if truth(&schema["uniqueItems"]) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    let additional = &schema["additionalProperties"];
    if set(additional) && count(&schema["properties"]) > 0 && *additional != Value::Bool(true) {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    for (way, it) in below(schema) {
        let at = FieldPath::new(&format!("{path}.{way}"));
        let mut inner = Place { root: false, ..place.clone() };
        match way.as_str() {
            "items" | "additionalProperties" => inner.often = place.often.inside(schema),
            name => inner.partial |= !name.starts_with("properties["),
        }
        if way.as_str() == "additionalProperties" && place.inside_meta {
            inner.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        let name = way.as_str().strip_prefix("properties[").and_then(|it| it.strip_suffix(']'));
        let owner = place.root || truth(&schema["x-kubernetes-embedded-resource"]);
        if let Some(name) = name.filter(|it| owner && matches!(*it, "metadata" | "kind" | "apiVersion")) {
            inner.inside_meta = true;
            if place.root {
                inner.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        part(it, &at, &inner, errors);
    }
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema[preserve] == Value::Bool(false) {
        errors.push(FieldError::invalid(&path.child(preserve), false, "must be true or undefined"));
    }
    map_type(schema, path, errors);
    list_type(schema, path, errors);
    keys(schema, path, errors);
    rules(schema, path, place, errors);
}

fn standard(schema: &Value, path: &FieldPath, place: &Place, errors: &mut Vec<FieldError>) {
    let kind = text(&schema["type"]);
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, TYPES));
    }
    if let Some(reason) = place.no_defaults.as_ref().filter(|_| set(&schema["default"])) {
        errors.push(FieldError::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let value = &schema[name];
        let there = ["additionalItems", "dependencies", "$ref"].contains(&name) && set(value);
        if there || count(value) > 0 || !text(value).is_empty() {
            errors.push(FieldError::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    let embedded = "x-kubernetes-embedded-resource";
    if place.inside_meta && truth(&schema[embedded]) {
        let detail = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(&path.child(embedded), detail));
    }
}

// An error where the type is not the one that an extension is for.
fn only_for(schema: &Value, path: &FieldPath, wanted: &str, extension: &str) -> Option<FieldError> {
    let kind = text(&schema["type"]);
    let detail = format!("must be {wanted} if {extension} is specified");
    match kind {
        _ if kind == wanted => None,
        "" => Some(FieldError::required(&path.child("type"), detail)),
        _ => Some(FieldError::invalid(&path.child("type"), kind, detail)),
    }
}

fn map_type(schema: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if !set(&schema[MAP_TYPE]) {
        return;
    }
    errors.extend(only_for(schema, path, "object", MAP_TYPE));
    let kind = text(&schema[MAP_TYPE]);
    if !["atomic", "granular"].contains(&kind) {
        errors.push(FieldError::not_supported(&path.child(MAP_TYPE), kind, &["atomic", "granular"]));
    }
}

fn list_type(schema: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if !set(&schema[LIST_TYPE]) {
        return;
    }
    let (kind, items) = (text(&schema[LIST_TYPE]), &schema["items"]);
    if let Some(error) = only_for(schema, path, "array", LIST_TYPE) {
        errors.push(error);
    } else if kind == "set" && items.is_object() {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let found = items[LIST_TYPE].clone();
        let at = path.child("items");
        match text(&items["type"]) {
            "array" if set(&items[LIST_TYPE]) && text(&items[LIST_TYPE]) != "atomic" => {
                errors.push(FieldError::invalid(&at.child(LIST_TYPE), found, detail));
            }
            "object" if text(&items[MAP_TYPE]) != "atomic" => {
                errors.push(FieldError::invalid(&at.child(MAP_TYPE), found, detail));
            }
            _ => {}
        }
    }
    if !["atomic", "set", "map"].contains(&kind) {
        errors.push(FieldError::not_supported(&path.child(LIST_TYPE), kind, &["atomic", "set", "map"]));
    }
}

fn keys(schema: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let (keys, items) = (texts(&schema[KEYS]), &schema["items"]);
    let kind = text(&schema[LIST_TYPE]);
    if !keys.is_empty() && kind != "map" {
        let (at, detail) = (path.child(LIST_TYPE), "must be map if x-kubernetes-list-map-keys is non-empty");
        errors.push(match set(&schema[LIST_TYPE]) {
            true => FieldError::invalid(&at, kind, detail),
            false => FieldError::required(&at, detail),
        });
    }
    if kind == "map" {
        let required = |at: FieldPath, detail: &str| FieldError::required(&at, detail);
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.push(required(path.child(KEYS), detail));
        }
        if !set(items) {
            errors.push(required(path.child("items"), "must have a schema if x-kubernetes-list-type is map"));
        }
        let element = text(&items["type"]);
        if items.is_object() && element != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&path.child("items").child("type"), element, detail));
        }
        if element == "object" {
            key_properties(schema, &keys, path, errors);
        }
    }
    if matches!(kind, "set" | "map") && items.is_object() {
        of_elements(schema, kind, &keys, path, errors);
    }
}

fn key_properties(schema: &Value, keys: &[&str], path: &FieldPath, errors: &mut Vec<FieldError>) {
    let items = &schema["items"];
    for (index, key) in keys.iter().enumerate() {
        let property = &items["properties"][*key];
        let at = path.child(KEYS);
        if !property.is_object() {
            let detail = "entries must all be names of item properties";
            errors.push(FieldError::invalid(&at, schema[KEYS].clone(), detail));
        } else if matches!(text(&property["type"]), "array" | "object") {
            let at = path.child("items").child("properties").key(key).child("type");
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&at, text(&items["type"]), detail));
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::invalid(&at, schema[KEYS].clone(), "must not contain duplicate entries"));
        }
    }
}

fn of_elements(schema: &Value, kind: &str, keys: &[&str], path: &FieldPath, errors: &mut Vec<FieldError>) {
    let items = &schema["items"];
    let at = path.child("items");
    if truth(&items["nullable"]) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(&at.child("nullable"), detail));
    }
    if kind != "map" {
        return;
    }
    let required = texts(&items["required"]);
    for key in keys {
        let property = &items["properties"][*key];
        if !property.is_object() {
            continue;
        }
        let at = at.child("properties").key(key);
        if !required.contains(key) && !set(&property["default"]) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&at.child("default"), detail));
        }
        if truth(&property["nullable"]) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&at.child("nullable"), detail));
        }
    }
}

// What shows of rules in CEL before they run.
fn rules(schema: &Value, path: &FieldPath, place: &Place, errors: &mut Vec<FieldError>) {
    const REASONS: &[&str] =
        &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let at = path.child("x-kubernetes-validations");
    let rules = list(&schema["x-kubernetes-validations"]);
    let before = errors.len();
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        let (own, message) = (text(&rule["rule"]).trim(), text(&rule["message"]));
        let lines = |text: &str| text.contains(['\n', '\r']);
        if own.is_empty() {
            errors.push(FieldError::required(&at.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(&at.child("message"), message, "must be non-empty if specified"));
        } else if lines(message.trim()) {
            errors.push(FieldError::invalid(&at.child("message"), message, "must not contain line breaks"));
        } else if lines(own) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(&at.child("message"), detail));
        }
        let reason = text(&rule["reason"]);
        if set(&rule["reason"]) && !REASONS.contains(&reason) {
            errors.push(FieldError::not_supported(&at.child("reason"), reason, REASONS));
        }
    }
    if errors.len() == before {
        let root = place.root || truth(&schema["x-kubernetes-embedded-resource"]);
        let whole = (!place.partial).then_some((cel::Declared { schema, root }, place.often));
        for (index, rule) in rules.iter().enumerate() {
            errors.extend(cel::faults(schema, whole, rule, &at.index(index)));
        }
    }
}

/// What is warned of in a schema: formats that are not checked, and sets of
/// what cannot be told apart.
pub fn warnings(schema: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    collect(schema, &mut warnings);
    warnings
}

fn collect(schema: &Value, warnings: &mut Vec<String>) {
    let format = text(&schema["format"]);
    let kind = match text(&schema["type"]) {
        "" => Kind::Any,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        _ => Kind::Object,
    };
    if !format.is_empty() && checked_format(kind, format).is_none() {
        warnings.push(format!("unrecognized format {format:?}"));
    }
    let element = text(&schema["items"]["type"]);
    if text(&schema[LIST_TYPE]) == "set" && matches!(element, "object" | "array") {
        warnings.push(format!(
            "x-kubernetes-list-type: set for items of type {element:?} is not supported by server-side apply or CEL validation rules"
        ));
    }
    for (_, it) in below(schema) {
        collect(it, warnings);
    }
}
