//! The defaults of a schema are values that it would take itself.

use coracle_api::{FieldError, FieldPath};
use serde_json::Value;

use crate::custom::{
    schema::{Additional, Schema},
    validate,
};

/// What is wrong with the defaults of a schema.
pub fn faults(schema: &Schema, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schema.has_defaults() {
        walk(schema, path, &mut errors);
    }
    errors
}

fn walk(schema: &Schema, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(default) = &schema.default {
        let at = path.child("default");
        let mut pruned = (**default).clone();
        prune(&mut pruned, Some(schema));
        if pruned != **default {
            let detail = "must not have unknown fields";
            errors.push(FieldError::invalid(&at, (**default).clone(), detail));
        }
        let embedded = validate::embedded_in(schema, default, &at);
        if embedded.is_empty() {
            errors.extend(validate::object(schema, default, None, &at));
        }
        errors.extend(embedded);
    }
    if let Some(items) = &schema.items {
        walk(items, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        walk(property, &path.child("properties").key(name), errors);
    }
}

// What the schema of a default leaves of it.
fn prune(value: &mut Value, schema: Option<&Schema>) {
    let preserve = schema.is_some_and(|it| it.preserve);
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let own = schema.is_some_and(|it| it.embedded)
                && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
            if own {
                return true;
            }
            let known = schema.and_then(|it| it.property(name));
            let entry = schema.filter(|it| !matches!(it.additional, Additional::Unsaid));
            match (known, entry) {
                (Some(known), _) => prune(value, Some(known)),
                (None, Some(entry)) => prune(value, entry.entry()),
                (None, None) => return preserve,
            }
            true
        }),
        Value::Array(items) => {
            let element = schema.and_then(|it| it.items.as_deref());
            if element.is_some() || !preserve {
                items.iter_mut().for_each(|item| prune(item, element));
            }
        }
        _ => {}
    }
}
