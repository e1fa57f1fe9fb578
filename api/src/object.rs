//! An API object as a JSON tree, with views of the metadata that every kind has.

use serde_json::{Map, Value};

/// One API object. Its tree is in canonical form once it was decoded: what Go
/// would write, with unset optional fields absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(pub Map<String, Value>);

impl Object {
    /// The object in `value`, if that is a JSON object.
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// The tree.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// `kind`, or the empty string.
    pub fn kind(&self) -> &str {
        text(self.0.get("kind"))
    }

    /// `apiVersion`, or the empty string.
    pub fn api_version(&self) -> &str {
        text(self.0.get("apiVersion"))
    }

    /// `metadata`, if there is one.
    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        self.0.get("metadata").and_then(Value::as_object)
    }

    /// `metadata`, made when missing.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        self.section_mut("metadata")
    }

    /// A field of the metadata.
    pub fn meta(&self, field: &str) -> Option<&Value> {
        self.metadata()?.get(field)
    }

    /// A text field of the metadata, or the empty string.
    pub fn meta_str(&self, field: &str) -> &str {
        text(self.meta(field))
    }

    /// Sets a field of the metadata, or takes it away with `None`.
    pub fn set_meta(&mut self, field: &str, value: Option<Value>) {
        match value {
            Some(value) => {
                self.metadata_mut().insert(field.to_owned(), value);
            }
            None => {
                self.metadata_mut().remove(field);
            }
        }
    }

    /// `metadata.name`, or the empty string.
    pub fn name(&self) -> &str {
        self.meta_str("name")
    }

    /// `metadata.namespace`, or the empty string.
    pub fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }

    /// `metadata.uid`, or the empty string.
    pub fn uid(&self) -> &str {
        self.meta_str("uid")
    }

    /// `metadata.resourceVersion`, or the empty string.
    pub fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }

    /// `metadata.generation`, 0 when unset.
    pub fn generation(&self) -> i64 {
        self.meta("generation").and_then(Value::as_i64).unwrap_or(0)
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.meta("labels"))
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.meta("annotations"))
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.meta("annotations")?.get(key)?.as_str()
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        let list = self.meta("finalizers").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn deleting(&self) -> bool {
        self.meta("deletionTimestamp").is_some_and(|stamp| !stamp.is_null())
    }

    /// The value at a path of field names, `["spec", "replicas"]`.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, field| value.get(*field))
    }

    /// The text at a path, or the empty string.
    pub fn get_str(&self, path: &[&str]) -> &str {
        text(self.get(path))
    }

    /// A top-level object field (`spec`, `status`), made when missing.
    pub fn section_mut(&mut self, name: &str) -> &mut Map<String, Value> {
        let slot = self.0.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        match slot {
            Value::Object(map) => map,
            _ => unreachable!("made an object just above"),
        }
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn pairs(value: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let map = value.and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}
