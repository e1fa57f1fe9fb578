//! The rule that makes a CRD's schema structural: every part says its type.

use coracle_api::{FieldError, FieldPath};
use serde_json::Value;

/// What is wrong with the schemas of a CRD's spec. Versions that share one
/// schema are told of it once, as upstream keeps it.
pub fn faults(spec: &Value) -> Vec<FieldError> {
    let versions: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    let mut errors = Vec::new();
    let root = FieldPath::new("spec");
    let shared = versions.first().is_some_and(|first| versions.iter().all(|it| schema(it) == schema(first)));
    for (index, version) in versions.iter().enumerate() {
        let path = if shared {
            root.child("validation")
        } else {
            root.child("versions").index(index).child("schema")
        };
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            typed(schema, "must not be empty at the root", &path.child("openAPIV3Schema"), &mut errors);
        }
        if shared {
            break;
        }
    }
    errors
}

const ITEM: &str = "must not be empty for specified array items";
const FIELD: &str = "must not be empty for specified object fields";

fn typed(schema: &Value, missing: &str, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if schema["items"].is_object() {
        typed(&schema["items"], ITEM, &path.child("items"), errors);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        typed(property, FIELD, &path.child("properties").key(name), errors);
    }
    if schema["additionalProperties"].is_object() {
        typed(&schema["additionalProperties"], FIELD, &path.child("additionalProperties"), errors);
    }
    let open = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if schema["type"].as_str().unwrap_or_default().is_empty() && !open.iter().any(|it| schema[*it] == true) {
        errors.push(FieldError::required(&path.child("type"), missing));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schemas: &[Value], expected: &[&str]) {
        let versions: Vec<Value> =
            schemas.iter().map(|schema| json!({ "schema": { "openAPIV3Schema": schema } })).collect();
        let said: Vec<String> =
            faults(&json!({ "versions": versions })).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn every_part_has_a_type() {
        let typed =
            json!({ "type": "object", "properties": { "a": { "x-kubernetes-int-or-string": true } } });
        let untyped = json!({ "properties": { "spec": {} } });
        check(&[typed.clone(), typed.clone()], &[]);
        check(
            std::slice::from_ref(&untyped),
            &[
                "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
                "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
            ],
        );
        check(
            &[typed, json!({ "type": "array", "items": {} })],
            &[
                "spec.versions[1].schema.openAPIV3Schema.items.type: Required value: must not be empty for specified array items",
            ],
        );
    }
}
