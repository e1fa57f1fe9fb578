//! Embedded resources are objects themselves: with a version, a kind, and
//! metadata that keeps to the rules of all metadata.

use coracle_api::{FieldError, Object, field::FieldPath, format};
use serde_json::{Map, Value};

use crate::{custom::schema::Schema, resources::meta};

/// What is wrong with the resources that are embedded in a value.
pub fn embedded(schema: &Schema, value: &Value, at: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, value, at, false, &mut errors);
    errors
}

/// What is wrong with the resources that are embedded in a value, or with the
/// value itself where it is one.
pub fn embedded_in(schema: &Schema, value: &Value, at: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, value, at, true, &mut errors);
    errors
}

fn walk(schema: &Schema, value: &Value, at: &FieldPath, inside: bool, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if inside && schema.embedded {
                resource(map, at, errors);
            }
            for (name, value) in map {
                if let Some(property) = schema.property(name) {
                    walk(property, value, &at.child(name), true, errors);
                } else if let Some(entry) = schema.entry() {
                    walk(entry, value, &at.key(name), true, errors);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(element) = &schema.items {
                    walk(element, item, &at.index(index), true, errors);
                }
            }
        }
        _ => {}
    }
}

// What is wrong with one embedded resource.
fn resource(map: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        if !map.contains_key(name) {
            errors.push(FieldError::required(&at.child(name), ""));
        }
    }
    let mut invalid = |name: &str, value: &Value, detail: String| {
        errors.push(FieldError::invalid(&at.child(name), value.clone(), detail));
    };
    match map.get("apiVersion") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => {
            invalid("apiVersion", &text.as_str().into(), "must not be empty".to_owned());
        }
        Some(Value::String(text)) if text.matches('/').count() > 1 => {
            invalid("apiVersion", &text.as_str().into(), format!("unexpected GroupVersion string: {text}"));
        }
        Some(Value::String(_)) => {}
        Some(other) => invalid("apiVersion", other, "must be a string".to_owned()),
    }
    match map.get("kind") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => {
            invalid("kind", &text.as_str().into(), "must not be empty".to_owned());
        }
        Some(Value::String(text)) => {
            let faults = format::dns1035_label(&text.to_lowercase());
            if !faults.is_empty() {
                let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
                invalid("kind", &text.as_str().into(), detail);
            }
        }
        Some(other) => invalid("kind", other, "must be a string".to_owned()),
    }
    if let Some(Value::Object(_)) = map.get("metadata") {
        let mut object = Object(map.clone());
        if object.name().is_empty() {
            object.set_meta("name", Some("fakename".into()));
        }
        let namespaced = !object.namespace().is_empty();
        let names = |name: &str, prefix: bool| format::name_is_path_segment(name, prefix);
        for mut error in meta::validate(&object, namespaced, names) {
            error.path = at.child(error.path.as_str());
            errors.push(error);
        }
    }
}
