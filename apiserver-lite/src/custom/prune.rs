//! What a schema does not name goes, and metadata takes the form that it has
//! everywhere.
//!
//! The order is upstream's, since it shows in what clients are told: the
//! object's metadata, all other fields by name, then embedded metadata.

use coracle_api::{
    facts::meta_v1::OBJECT_META,
    schema::{Shape, Struct},
};
use serde_json::{Map, Value};

use crate::schema::decode::{self, Part};

/// Prunes an object by the shape of its kind; returns `unknown field "..."`
/// for what went. `lenient` drops metadata that is none, as reading does.
///
/// # Errors
/// Metadata that cannot be read, in Go's words.
pub fn prune(object: &mut Map<String, Value>, schema: &Struct, lenient: bool) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    metadata(object, "", lenient, &mut unknown)?;
    let mut pruning = Pruning { unknown: Vec::new(), embedded: Vec::new(), lenient, fault: None };
    pruning.fields(object, schema, "");
    if let Some(fault) = pruning.fault {
        return Err(fault);
    }
    pruning.unknown.sort();
    pruning.embedded.sort();
    unknown.append(&mut pruning.unknown);
    unknown.append(&mut pruning.embedded);
    Ok(unknown.into_iter().map(|path| format!("unknown field \"{path}\"")).collect())
}

struct Pruning {
    unknown: Vec<String>,
    embedded: Vec<String>,
    lenient: bool,
    fault: Option<String>,
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Pruning {
    fn fields(&mut self, map: &mut Map<String, Value>, schema: &Struct, path: &str) {
        map.retain(|name, value| {
            match schema.field(name) {
                // The object's own metadata has its form already.
                Some(field) if is_metadata(&field.shape) => {}
                Some(field) => self.value(value, &field.shape, &below(path, name)),
                None if schema.open => {}
                None => {
                    self.unknown.push(below(path, name));
                    return false;
                }
            }
            true
        });
        let embeds = schema.field("metadata").is_some_and(|field| is_metadata(&field.shape));
        if embeds && !path.is_empty() {
            let lenient = self.lenient;
            if let Err(fault) = metadata(map, path, lenient, &mut self.embedded) {
                self.fault.get_or_insert(fault);
            }
        }
    }

    fn value(&mut self, value: &mut Value, shape: &Shape, path: &str) {
        match (shape, value) {
            (Shape::Any | Shape::FieldsV1, _) => {}
            (Shape::Struct(schema), Value::Object(map)) => self.fields(map, schema, path),
            (Shape::Map(entries), Value::Object(map)) => {
                for (name, value) in map.iter_mut() {
                    self.value(value, &entries.value, &below(path, name));
                }
            }
            (shape, Value::Array(items)) => {
                let element = match shape {
                    Shape::List(list) => &list.element,
                    _ => &Shape::IntOrString,
                };
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, element, &format!("{path}[{index}]"));
                }
            }
            // What is to be no object has no fields.
            (_, Value::Object(map)) => {
                self.unknown.extend(map.keys().map(|name| below(path, name)));
                map.clear();
            }
            _ => {}
        }
    }
}

fn is_metadata(shape: &Shape) -> bool {
    matches!(shape, Shape::Struct(it) if std::ptr::eq::<Struct>(&**it, &raw const OBJECT_META))
}

// Brings the metadata of an object into the form that Go's type gives it.
fn metadata(
    object: &mut Map<String, Value>,
    path: &str,
    lenient: bool,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let at = below(path, "metadata");
    let Some(value) = object.get("metadata") else { return Ok(()) };
    let read = decode::part(value, &OBJECT_META);
    let fault = |fault: String| {
        if path.is_empty() { fault } else { format!("{at}: Invalid value: {value}: {fault}") }
    };
    let part = match (read, value) {
        (Ok(part), _) => part,
        (Err(error), Value::Object(map)) if lenient => {
            tracing::debug!(error, "metadata that cannot be read is dropped");
            readable(map)
        }
        (Err(error), _) => return Err(fault(error)),
    };
    unknown.extend(part.unknown.into_iter().map(|name| format!("{at}.{name}")));
    let mut fields = part.fields;
    if fields.get("creationTimestamp").is_some_and(Value::is_null) {
        fields.remove("creationTimestamp");
    }
    object.insert("metadata".to_owned(), Value::Object(fields));
    Ok(())
}

// The fields that can be read.
fn readable(map: &Map<String, Value>) -> Part {
    let mut kept = Map::new();
    for (name, value) in map {
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        if decode::part(&alone, &OBJECT_META).is_ok() {
            kept.insert(name.clone(), value.clone());
        }
    }
    decode::part(&Value::Object(kept), &OBJECT_META).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::{Schema, shape};

    fn check(value: Value, expected: &Value, unknown: &[&str]) {
        let schema = Schema::parse(&json!({ "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "text": { "type": "string" },
                "open": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "known": { "type": "object", "properties": { "a": { "type": "string" } } } } },
                "map": { "type": "object", "additionalProperties": { "type": "object", "properties": { "a": { "type": "string" } } } },
                "any": { "type": "object", "additionalProperties": true },
                "list": { "type": "array", "items": { "type": "object", "properties": { "a": { "type": "string" } } } },
                "pod": { "type": "object", "x-kubernetes-embedded-resource": true, "properties": { "spec": { "type": "object" } } },
            } },
        } }));
        let shape = shape::resource("example.v1.Boat".to_owned(), &schema);
        let Value::Object(mut map) = value else { return };
        let said = prune(&mut map, &shape, false).expect("metadata that can be read");
        assert_eq!(said, unknown.iter().map(|it| format!("unknown field \"{it}\"")).collect::<Vec<_>>());
        assert_eq!(&Value::Object(map), expected);
    }

    #[test]
    fn what_the_schema_does_not_name_goes() {
        check(json!({ "top": 1, "spec": { "x": 1 } }), &json!({ "spec": {} }), &["spec.x", "top"]);
        check(
            json!({ "spec": { "open": { "x": { "y": 1 }, "known": { "a": "b", "c": 1 } } } }),
            &json!({ "spec": { "open": { "x": { "y": 1 }, "known": { "a": "b" } } } }),
            &["spec.open.known.c"],
        );
        check(
            json!({ "spec": { "map": { "k": { "a": "b", "c": 1 } }, "any": { "k": 1, "l": { "m": 1 } } } }),
            &json!({ "spec": { "map": { "k": { "a": "b" } }, "any": { "k": 1, "l": {} } } }),
            &["spec.any.l.m", "spec.map.k.c"],
        );
        check(
            json!({ "spec": { "list": [{ "a": "b", "c": 1 }], "text": { "odd": 1 } } }),
            &json!({ "spec": { "list": [{ "a": "b" }], "text": {} } }),
            &["spec.list[0].c", "spec.text.odd"],
        );
    }

    #[test]
    fn metadata_has_its_form_everywhere() {
        check(
            json!({ "metadata": { "name": "a", "labels": {}, "creationTimestamp": null, "x": 1 } }),
            &json!({ "metadata": { "name": "a" } }),
            &["metadata.x"],
        );
        check(
            json!({ "spec": { "pod": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a", "x": 1 }, "y": 1 } } }),
            &json!({ "spec": { "pod": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } } } }),
            &["spec.pod.y", "spec.pod.metadata.x"],
        );
    }
}
