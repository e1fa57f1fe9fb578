//! Strategic merge patch: lists of structs merge by key, and directives in the
//! patch say what else to do.
//!
//! Maps merge here, lists in `list`. Source: the API conventions on strategic
//! merge, and what upstream does where they are silent.

mod level;
mod list;

use coracle_api::schema::Struct;
use serde_json::{Map, Value};

use super::{PatchError, golang, strict};
use level::Level;

const MARKER: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

/// Applies `patch` to `target`, an object of `schema`.
///
/// # Errors
/// `Malformed` when the patch is no object or a directive is misused,
/// `Unprocessable` for lists of lists, `Failed` where upstream answers 500.
pub fn apply(target: Value, patch: &[u8], schema: &Struct) -> Result<Value, PatchError> {
    merge(target, parse(patch)?, schema)
}

/// The patch that the bytes hold. `null` is one that changes nothing.
///
/// # Errors
/// `Malformed` when it is not an object.
pub fn parse(patch: &[u8]) -> Result<Map<String, Value>, PatchError> {
    match serde_json::from_slice(patch).map_err(|_| PatchError::not_json())? {
        Value::Object(patch) => Ok(patch),
        Value::Null => Ok(Map::new()),
        other => Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            golang::json_kind(&other)
        ))),
    }
}

/// Applies a parsed patch to `target`, an object of `schema`.
///
/// # Errors
/// As [`apply`].
pub fn merge(target: Value, patch: Map<String, Value>, schema: &Struct) -> Result<Value, PatchError> {
    let target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    merge_map(target, patch, Level::root(schema)).map(Value::Object)
}

/// What `fieldValidation` finds in the patch: `duplicate field "data.a"`.
///
/// # Errors
/// `Malformed` when it is not an object.
pub fn check(patch: &[u8]) -> Result<Vec<String>, PatchError> {
    parse(patch)?;
    strict::object(patch)
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    level: Level<'_>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(MARKER) {
        Some(Value::String(directive)) if directive == "replace" => {
            patch.remove(MARKER);
            return Ok(patch);
        }
        Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
        Some(directive) => return Err(unknown_directive(directive, &patch)),
        None => {}
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, &patch, &keys)?;
    }
    let ordered: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in ordered {
        let order = patch.remove(&directive).unwrap_or_default();
        list::merge_in_order(&mut original, &mut patch, &directive, order, level)?;
    }
    for (key, value) in patch {
        let (key, deletes) = match key.starts_with(DELETE_FROM) {
            true => (operand(&key, DELETE_FROM)?.to_owned(), true),
            false => (key, false),
        };
        match (original.get_mut(&key), value) {
            (_, Value::Null) => {
                original.remove(&key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let (below, patch) = level.map(&key)?;
                *old = match patch.replace {
                    true => new,
                    false => merge_map(std::mem::take(old), new, below)?,
                };
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let (element, patch) = level.list(&key)?;
                *old = match patch.merge || deletes {
                    true => list::merge(std::mem::take(old), new, element, patch.key, deletes)?,
                    false => new,
                };
            }
            _ if deletes => {}
            (_, value) => match settled(value) {
                Some(value) => drop(original.insert(key, value)),
                None => drop(original.remove(&key)),
            },
        }
    }
    Ok(original)
}

// `$deleteFromPrimitiveList/finalizers` is about `finalizers`.
fn operand<'a>(key: &'a str, prefix: &str) -> Result<&'a str, PatchError> {
    match key.split_once('/') {
        Some((directive, operand)) if directive == prefix => Ok(operand),
        _ if prefix == DELETE_FROM => {
            Err(PatchError::Malformed("invalid patch format of primitive list".to_owned()))
        }
        _ => Err(bad_order()),
    }
}

fn bad_order() -> PatchError {
    PatchError::Malformed("invalid patch format of setElementOrder list".to_owned())
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> PatchError {
    let shown = match directive {
        Value::String(text) => text.clone(),
        other => format!("%!s({}={})", golang::type_name(other), golang::verbose(other)),
    };
    let map = golang::verbose(&Value::Object(patch.clone()));
    PatchError::Failed(format!("unknown patch type: {shown} in map: {map}"))
}

// Every key that the patch sets must be among those it retains.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: &Value,
) -> Result<(), PatchError> {
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let keys: std::collections::BTreeSet<&str> =
        keys.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_str).collect();
    let set = patch.iter().filter(|(key, value)| {
        !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(ELEMENT_ORDER)
    });
    for (key, _) in set {
        if !keys.contains(key.as_str()) {
            return Err(bad());
        }
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

// A patch value that there is nothing to merge with: without what only a merge
// understands. `None` when the whole of it is a directive.
fn settled(mut value: Value) -> Option<Value> {
    discard_nulls(&mut value);
    without_directives(value)
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(MARKER) => return None,
        Value::Object(map) => Value::Object(
            map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().filter_map(without_directives).collect()),
        scalar => scalar,
    })
}

#[cfg(test)]
mod tests;
