//! Schemas within schemas. Where Go holds a schema or something else (a list,
//! a flag), the tables only say that it is JSON; it has a type all the same.

use coracle_api::facts::apiextensions_v1::JSON_SCHEMA_PROPS;
use serde_json::{Map, Value};

use crate::{
    resources::tree::{object_mut, objects_mut},
    schema::decode,
};

/// Brings the schemas of a spec into the form that Go's types give them.
pub fn versions(spec: &mut Map<String, Value>) {
    for version in objects_mut(spec, "versions") {
        let schema = object_mut(version, "schema").and_then(|it| object_mut(it, "openAPIV3Schema"));
        if let Some(schema) = schema {
            within(schema);
        }
    }
}

fn within(schema: &mut Map<String, Value>) {
    for name in ["properties", "patternProperties", "definitions"] {
        if let Some(map) = object_mut(schema, name) {
            map.values_mut().filter_map(Value::as_object_mut).for_each(within);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        objects_mut(schema, name).for_each(within);
    }
    if let Some(not) = object_mut(schema, "not") {
        within(not);
    }
    for name in ["items", "additionalProperties", "additionalItems"] {
        match schema.get_mut(name) {
            Some(Value::Array(all)) => all.iter_mut().for_each(typed),
            Some(one) => typed(one),
            None => {}
        }
    }
    if let Some(map) = object_mut(schema, "dependencies") {
        map.values_mut().for_each(typed);
    }
}

fn typed(value: &mut Value) {
    if !value.is_object() {
        return;
    }
    if let Ok(part) = decode::part(value, &JSON_SCHEMA_PROPS) {
        *value = Value::Object(part.fields);
    }
    if let Some(schema) = value.as_object_mut() {
        within(schema);
    }
}
