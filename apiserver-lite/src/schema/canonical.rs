//! The canonical form: what Go would write for the object, after its way
//! through storage (where an empty list and no list are the same).

use coracle_api::{
    Object,
    schema::{Field, Omit, Shape, Struct},
};
use serde_json::{Map, Value};

/// Brings a tree that was changed into canonical form: drops what Go omits,
/// adds what Go always writes. Values keep their text: whoever writes a
/// quantity or a time writes it canonically.
pub fn canonicalize(object: &mut Object, schema: &Struct) {
    if schema.is_custom() {
        // The rest of it has no Go type.
        if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
            tidy(metadata, &coracle_api::facts::meta_v1::OBJECT_META);
            if metadata.get("creationTimestamp").is_some_and(Value::is_null) {
                metadata.remove("creationTimestamp");
            }
        }
        return;
    }
    tidy(&mut object.0, schema);
}

/// Makes no list of each empty one, as they come out of storage. Until then it
/// is known who sent one.
pub fn settle(object: &mut Object, schema: &Struct) {
    if !schema.is_custom() {
        settle_fields(&mut object.0, schema);
    }
}

fn settle_fields(map: &mut Map<String, Value>, schema: &Struct) {
    for field in schema.fields.iter().filter(|field| field.name != "metadata") {
        if let Some(value) = map.get_mut(field.name.as_ref()) {
            settle_value(value, &field.shape);
        }
    }
}

fn settle_value(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::List(_), value) if *value == Value::Array(Vec::new()) => *value = Value::Null,
        (Shape::Struct(schema), Value::Object(map)) => settle_fields(map, schema),
        (Shape::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| settle_value(item, &list.element));
        }
        (Shape::Map(map), Value::Object(items)) => {
            items.values_mut().for_each(|item| settle_value(item, &map.value));
        }
        _ => {}
    }
}

fn tidy(map: &mut Map<String, Value>, schema: &Struct) {
    for field in schema.fields.iter() {
        if let Some(value) = map.get_mut(field.name.as_ref()) {
            tidy_value(value, &field.shape);
            if omitted(field, value) {
                map.remove(field.name.as_ref());
            } else if *value == Value::Array(Vec::new()) || (value.is_null() && !field.pointer) {
                *value = zero(&field.shape);
            }
        }
    }
    complete(map, schema);
}

fn tidy_value(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Struct(schema), Value::Object(map)) => tidy(map, schema),
        (Shape::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| tidy_element(item, &list.element));
        }
        (Shape::Map(schema), Value::Object(map)) => {
            map.values_mut().for_each(|item| tidy_element(item, &schema.value));
        }
        _ => {}
    }
}

fn tidy_element(value: &mut Value, shape: &Shape) {
    if value.is_null() {
        *value = zero_element(shape);
    } else {
        tidy_value(value, shape);
    }
}

/// Adds the fields that Go always writes and that are not there.
pub(super) fn complete(map: &mut Map<String, Value>, schema: &Struct) {
    for field in schema.fields.iter() {
        if always_written(field) && !map.contains_key(field.name.as_ref()) {
            let value = if field.pointer { Value::Null } else { zero(&field.shape) };
            map.insert(field.name.to_string(), value);
        }
    }
}

// Go's `omitempty` never holds for a struct that is not a pointer.
fn always_written(field: &Field) -> bool {
    match field.omit {
        Omit::Never => true,
        Omit::Zero => false,
        Omit::Empty => !field.pointer && is_struct(&field.shape),
    }
}

// Whether Go holds it as a struct.
fn is_struct(shape: &Shape) -> bool {
    matches!(
        shape,
        Shape::Struct(_)
            | Shape::Time
            | Shape::MicroTime
            | Shape::Duration
            | Shape::Quantity
            | Shape::IntOrString
            | Shape::Any
    )
}

/// Whether Go leaves a field of that value out.
pub(super) fn omitted(field: &Field, value: &Value) -> bool {
    match field.omit {
        Omit::Never => false,
        _ if field.pointer => value.is_null(),
        Omit::Empty if is_struct(&field.shape) => false,
        Omit::Zero if is_struct(&field.shape) => value.is_null() || *value == zero(&field.shape),
        Omit::Empty | Omit::Zero => match value {
            Value::Null => true,
            Value::Bool(it) => !it,
            Value::Number(it) => it.as_f64() == Some(0.0),
            Value::String(it) => it.is_empty(),
            // An empty list there asks to clear it.
            Value::Array(it) => it.is_empty() && field.name != "managedFields",
            Value::Object(it) => it.is_empty(),
        },
    }
}

/// What Go writes for an unset value in a list or map.
pub(super) fn zero_element(shape: &Shape) -> Value {
    // On the way through storage, no bytes become empty ones there.
    if matches!(shape, Shape::Bytes) { Value::String(String::new()) } else { zero(shape) }
}

/// What Go writes for an unset value that is not a pointer.
pub(super) fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String => Value::String(String::new()),
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => Value::from(0),
        Shape::Duration => Value::from("0s"),
        Shape::Quantity => Value::from("0"),
        Shape::Time | Shape::MicroTime | Shape::FieldsV1 | Shape::Any => Value::Null,
        Shape::Bytes | Shape::List(_) | Shape::Map(_) => Value::Null,
        Shape::Struct(schema) => {
            let mut map = Map::new();
            complete(&mut map, schema);
            Value::Object(map)
        }
    }
}
