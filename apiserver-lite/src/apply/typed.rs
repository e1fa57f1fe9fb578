//! Whether an applied configuration has the types of its schema.

use std::collections::HashSet;

use coracle_api::schema::{Shape, Struct};
use serde_json::{Map, Value};

use super::walk::{Form, Members, Unkeyed, element_of, form};
use crate::patch::golang;

/// What is wrong with `config`, as upstream says it.
pub fn check(config: &Map<String, Value>, schema: &Struct) -> Option<String> {
    let mut errors = Vec::new();
    check_map(&mut errors, "", config, Members::Struct(schema));
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn fault(errors: &mut Vec<String>, path: &str, text: &str) {
    errors.push(if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") });
}

fn check_map(errors: &mut Vec<String>, path: &str, map: &Map<String, Value>, members: Members<'_>) {
    for (name, value) in map {
        let path = format!("{path}.{name}");
        let (shape, named) = members.shape(name);
        let closed = matches!(members, Members::Struct(schema) if !schema.open);
        if !named && closed {
            return fault(errors, &path, "field not declared in schema");
        }
        check_value(errors, &path, value, shape);
    }
}

fn check_value(errors: &mut Vec<String>, path: &str, value: &Value, shape: &Shape) {
    match (shape, value) {
        (_, Value::Null) | (Shape::Any | Shape::FieldsV1, _) => {}
        (Shape::Struct(schema), Value::Object(map)) => check_map(errors, path, map, Members::Struct(schema)),
        (Shape::Map(inner), Value::Object(map)) => check_map(errors, path, map, Members::Map(&inner.value)),
        (Shape::Struct(_) | Shape::Map(_), _) => expected(errors, path, "map", value),
        (Shape::List(list), Value::Array(items)) => {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let mut name = format!("[{index}]");
                if matches!(form(shape, Some(value)), Form::List(_)) {
                    match element_of(list, item) {
                        Ok(element) => name = element.to_string(),
                        Err(Unkeyed(text)) => {
                            return fault(errors, path, &format!("element {index}: {text}"));
                        }
                    }
                    if !seen.insert(name.clone()) {
                        fault(errors, path, &format!("duplicate entries for key {name}"));
                    }
                }
                check_value(errors, &format!("{path}{name}"), item, &list.element);
            }
        }
        (Shape::List(_), _) => expected(errors, path, "list", value),
        (Shape::Int32 | Shape::Int64 | Shape::Float64, Value::Number(_)) => {}
        (Shape::Int32 | Shape::Int64 | Shape::Float64, _) => {
            let text = format!("expected numeric (int or float), got {}", golang::type_name(value));
            fault(errors, path, &text);
        }
        (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Bool, _) => expected(errors, path, "boolean", value),
        (Shape::Quantity | Shape::IntOrString, Value::Array(_) | Value::Object(_)) => {
            expected(errors, path, "any scalar", value);
        }
        (Shape::Quantity | Shape::IntOrString, _) | (_, Value::String(_)) => {}
        _ => {
            let shown = golang::syntax(value);
            fault(errors, path, &format!("expected string, got &value.valueUnstructured{{Value:{shown}}}"));
        }
    }
}

fn expected(errors: &mut Vec<String>, path: &str, what: &str, value: &Value) {
    fault(errors, path, &format!("expected {what}, got &{{{}}}", golang::verbose(value)));
}
