//! Reading an object's tree without asking at each step whether a field is
//! there: an absent one reads as `null`, and `null` as empty text, 0, `false`
//! or an empty list, which is what Go's zero values are.

use coracle_api::Object;
use jiff::Timestamp;
use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// A top-level field of an object.
pub fn section<'a>(object: &'a Object, name: &str) -> &'a Value {
    object.0.get(name).unwrap_or(&NULL)
}

/// The field at a path below a value.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(value, |value, field| value.get(*field)).unwrap_or(&NULL)
}

/// The field at a path in an object.
pub fn field<'a>(object: &'a Object, path: &[&str]) -> &'a Value {
    object.get(path).unwrap_or(&NULL)
}

/// A value's text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A value's whole number.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A value's truth.
pub fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

/// A value's elements.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value's elements that are text.
pub fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

/// A value's entries by key.
pub fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// How many entries or elements a value has.
pub fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

/// Whether a field is there.
pub fn set(value: &Value) -> bool {
    !value.is_null()
}

/// A value's map, made where there is none.
pub fn map_mut<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(name).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// The elements of a field that are objects, to change them.
pub fn objects_mut<'a>(
    map: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = map.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The object in a field, to change it where it is there.
pub fn object_mut<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(name).and_then(Value::as_object_mut)
}

/// Gives a field its default: where it is absent, `null` or the empty text.
pub fn or_default(map: &mut Map<String, Value>, name: &str, default: impl Into<Value>) {
    let unset = map.get(name).is_none_or(|value| value.is_null() || value.as_str() == Some(""));
    if unset {
        map.insert(name.to_owned(), default.into());
    }
}

/// As [`or_default`], for a field that is a pointer in Go: there an empty text
/// is set.
pub fn or_unset(map: &mut Map<String, Value>, name: &str, default: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), default.into());
    }
}

/// A time as `metav1.Time` is written: whole seconds, UTC.
pub fn time(at: Timestamp) -> Value {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}
