//! Lists that are sets or maps hold each element once.

use std::collections::HashMap;

use coracle_api::{FieldError, field::FieldPath};
use serde_json::{Map, Value};

use crate::custom::schema::{ListType, Schema};

/// The elements that stand twice in lists that are sets or maps.
pub fn lists(schema: &Schema, map: &Map<String, Value>, at: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    fields(schema, map, at, &mut errors);
    errors
}

fn fields(schema: &Schema, map: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for (name, value) in map {
        if let Some(entry) = schema.entry() {
            below(entry, value, &at.key(name), errors);
        }
        if let Some(property) = schema.property(name) {
            below(property, value, &at.child(name), errors);
        }
    }
}

fn below(schema: &Schema, value: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    match value {
        Value::Array(items) => list(schema, items, at, errors),
        Value::Object(map) => fields(schema, map, at, errors),
        _ => {}
    }
}

fn list(schema: &Schema, items: &[Value], at: &FieldPath, errors: &mut Vec<FieldError>) {
    match &schema.list {
        ListType::Atomic => {}
        ListType::Set => {
            let twice = second(items.iter().map(Value::to_string));
            errors.extend(
                twice.into_iter().map(|index| FieldError::duplicate(&at.index(index), items[index].clone())),
            );
        }
        ListType::Map(keys) => keyed(keys, items, at, errors),
    }
    if let Some(element) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            below(element, item, &at.index(index), errors);
        }
    }
}

fn keyed(keys: &[Box<str>], items: &[Value], at: &FieldPath, errors: &mut Vec<FieldError>) {
    let odd = |item: &&Value| !item.is_object() && !item.is_null();
    if let Some((index, item)) = items.iter().enumerate().find(|(_, item)| odd(item)) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&at.index(index), item.clone(), detail));
        return;
    }
    let key = |item: &Value| -> Value {
        let set = keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone())));
        Value::Object(set.collect())
    };
    let all: Vec<Value> = items.iter().map(key).collect();
    for index in second(all.iter().map(Value::to_string)) {
        errors.push(FieldError::duplicate(&at.index(index), all[index].clone()));
    }
}

// Where something stands for the second time.
fn second(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut twice = Vec::new();
    for (index, text) in texts.enumerate() {
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            twice.push(index);
        }
    }
    twice
}
