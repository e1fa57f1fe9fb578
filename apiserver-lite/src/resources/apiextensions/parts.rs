//! What else a version says: its columns, its subresources, and the fields
//! that selectors may name.

use coracle_api::{FieldError, FieldPath};
use serde_json::Value;

use crate::resources::tree::{entries, list, set, text};

const MOST_FIELDS: usize = 8;

/// What is wrong with a column.
pub fn column(column: &Value, path: &FieldPath) -> Vec<FieldError> {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let mut errors = Vec::new();
    if text(&column["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let detail = format!("must be one of {}", TYPES.join(","));
    match text(&column["type"]) {
        "" => errors.push(FieldError::required(&path.child("type"), detail)),
        kind if !TYPES.contains(&kind) => errors.push(FieldError::invalid(&path.child("type"), kind, detail)),
        _ => {}
    }
    let format = text(&column["format"]);
    if !format.is_empty() && !FORMATS.contains(&format) {
        let detail = format!("must be one of {}", FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), format, detail));
    }
    let at = path.child("JSONPath");
    match text(&column["jsonPath"]) {
        "" => errors.push(FieldError::required(&at, "")),
        json_path => errors.extend(simple(json_path, &at)),
    }
    errors
}

fn simple(path: &str, at: &FieldPath) -> Option<FieldError> {
    let wrong = !path.starts_with('.');
    wrong.then(|| FieldError::invalid(at, path, "must be a simple json path starting with ."))
}

/// What is wrong with the subresources.
pub fn subresources(parts: &Value, path: &FieldPath) -> Vec<FieldError> {
    let scale = &parts["scale"];
    let mut errors = Vec::new();
    if !set(scale) {
        return errors;
    }
    for (name, below) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (given, at) = (text(&scale[name]), path.child("scale").child(name));
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if let Some(error) = simple(given, &at) {
            errors.push(error);
        } else if !given.starts_with(&format!("{below}.")) {
            errors.push(FieldError::invalid(&at, given, format!("should be a json path under {below}")));
        }
    }
    let (given, at) = (text(&scale["labelSelectorPath"]), path.child("scale").child("labelSelectorPath"));
    if !given.is_empty() {
        if let Some(error) = simple(given, &at) {
            errors.push(error);
        } else if !given.starts_with(".spec.") && !given.starts_with(".status.") {
            let detail = "should be a json path under either .spec or .status";
            errors.push(FieldError::invalid(&at, given, detail));
        }
    }
    errors
}

/// What is wrong with the fields that selectors may name. `unchanged`: they
/// were so before, and may be too many.
pub fn selectable(fields: &[Value], schema: &Value, path: &FieldPath, unchanged: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (index, it) in fields.iter().enumerate() {
        let (given, at) = (text(&it["jsonPath"]), path.index(index).child("jsonPath"));
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let found = match find(given, schema) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(&at, given, format!("is an invalid path: {why}")));
                continue;
            }
        };
        let plain = given.trim_start_matches('.').to_owned();
        if plain.split('.').next() == Some("metadata") {
            errors.push(FieldError::invalid(&at, given, "must not point to fields in metadata"));
        }
        if !matches!(text(&found["type"]), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&at, given, detail));
        }
        if seen.contains(&plain) {
            errors.push(FieldError::duplicate(&at, given));
        } else {
            seen.push(plain);
        }
    }
    if seen.len() > MOST_FIELDS && !unchanged {
        errors.push(FieldError::too_many(path, seen.len(), MOST_FIELDS));
    }
    errors
}

// The schema that a path leads to.
fn find<'a>(path: &str, schema: &'a Value) -> Result<&'a Value, String> {
    if path.contains('[') {
        return Err("array notation is not allowed".to_owned());
    }
    let Some(names) = path.strip_prefix('.') else {
        let first = path.split('.').next().unwrap_or_default();
        return Err(format!("expected [ or . but got: {first}"));
    };
    if names.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    let mut schema = schema;
    for name in names.split('.') {
        schema = if entries(&schema["properties"]).next().is_some() {
            &schema["properties"][name]
        } else {
            &schema["additionalProperties"]
        };
        if !schema.is_object() {
            return Err("does not refer to a valid field".to_owned());
        }
    }
    Ok(schema)
}

/// What is wrong with saying that a version is deprecated.
pub fn deprecation(version: &Value, path: &FieldPath) -> Vec<FieldError> {
    let Some(warning) = version["deprecationWarning"].as_str() else { return Vec::new() };
    let invalid = |detail: String| FieldError::invalid(&path.child("deprecationWarning"), warning, detail);
    if version["deprecated"] != true {
        return vec![invalid("can only be set for deprecated versions".to_owned())];
    }
    let mut errors = Vec::new();
    if warning.len() > 256 {
        errors.push(invalid("must be <= 256 characters long".to_owned()));
    }
    if warning.is_empty() {
        errors.push(invalid("must not be an empty string".to_owned()));
    }
    let odd = |c: char| c.is_control() || (c != ' ' && c.is_whitespace());
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| odd(*c)) {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        );
        errors.push(invalid(detail));
    }
    errors
}

/// The versions' own values of a field, or what all of them have in common:
/// upstream keeps that beside them.
pub fn shared<'a>(versions: &'a [Value], of: &dyn Fn(&'a Value) -> &'a Value) -> Option<&'a Value> {
    let first = of(versions.first()?);
    let said = set(first) && (!first.is_array() || !list(first).is_empty());
    (said && versions.iter().all(|it| of(it) == first)).then_some(first)
}
