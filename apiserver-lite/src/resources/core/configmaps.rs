//! Config maps.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME},
    tree::{count, entries, section, text, truth},
};

use super::secrets::{MAX_BYTES, decoded_len};

/// The behaviour of config maps.
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = old.map(|old| immutable(new, old, &["data", "binaryData"])).unwrap_or_default();
        let mut size = 0;
        for (key, value) in entries(section(new, "data")) {
            let path = FieldPath::new("data").key(key);
            errors.extend(key_faults(key, &path));
            if section(new, "binaryData").get(key).is_some() {
                errors.push(FieldError::invalid(&path, key, "duplicate of key present in binaryData"));
            }
            size += text(value).len();
        }
        for (key, value) in entries(section(new, "binaryData")) {
            errors.extend(key_faults(key, &FieldPath::new("binaryData").key(key)));
            size += decoded_len(text(value));
        }
        if size > MAX_BYTES {
            // Upstream names the whole object with an empty field, not a nil path.
            errors.push(FieldError::too_long(&FieldPath::new("[]"), MAX_BYTES));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

/// What is wrong with a key of data.
pub fn key_faults(key: &str, path: &FieldPath) -> Vec<FieldError> {
    format::config_map_key(key).into_iter().map(|fault| FieldError::invalid(path, key, fault)).collect()
}

/// What changed of what was marked immutable.
pub fn immutable(new: &Object, old: &Object, fields: &[&str]) -> Vec<FieldError> {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !truth(section(old, "immutable")) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if !truth(section(new, "immutable")) {
        errors.push(FieldError::forbidden(&FieldPath::new("immutable"), DETAIL));
    }
    for field in fields {
        let (new, old) = (section(new, field), section(old, field));
        if new != old && count(new) + count(old) > 0 {
            errors.push(FieldError::forbidden(&FieldPath::new(field), DETAIL));
        }
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Data",
        "string",
        "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
        |it, _| (count(section(it, "data")) + count(section(it, "binaryData"))).into(),
    ),
    AGE,
];
