//! Merge (RFC 7396) patch, with the quirks of the library upstream uses.

use serde_json::{Map, Value};

use super::{PatchError, golang, strict};

/// Applies `patch` to `target`. A patch that is a list becomes the result; the
/// decoder then refuses that.
///
/// # Errors
/// `Malformed` when the patch is not JSON, or neither an object nor a list.
pub fn apply(mut target: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch: Value = serde_json::from_slice(patch).map_err(|_| PatchError::not_json())?;
    match (&mut target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge(target, patch),
        (_, mut patch @ (Value::Object(_) | Value::Array(_))) => {
            prune(&mut patch);
            return Ok(patch);
        }
        _ => return Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
    }
    Ok(target)
}

/// What `fieldValidation` finds in the patch: `duplicate field "data.a"`.
///
/// # Errors
/// `Malformed` when it is not an object.
pub fn check(patch: &[u8]) -> Result<Vec<String>, PatchError> {
    match serde_json::from_slice::<Value>(patch) {
        Ok(Value::Object(_) | Value::Null) => strict::object(patch),
        Ok(other) => Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            golang::json_kind(&other)
        ))),
        Err(_) => Err(PatchError::not_json()),
    }
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut value) in patch {
        match (target.get_mut(&key), &mut value) {
            (_, Value::Null) => {
                target.remove(&key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, std::mem::take(new)),
            // An object that turns into something else keeps the nulls in it.
            (Some(Value::Object(_)), _) => {
                target.insert(key, value);
            }
            _ => {
                prune(&mut value);
                target.insert(key, value);
            }
        }
    }
}

// Nulls mean deletion, so they leave objects that are new; lists keep theirs.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        serde_json::from_str(json).expect("test JSON")
    }

    #[test]
    fn patches_merge() {
        #[track_caller]
        fn check(target: &str, patch: &str, expected: &str) {
            assert_eq!(apply(parse(target), patch.as_bytes()), Ok(parse(expected)), "{target} {patch}");
        }
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"c"}"#, r#"{"a":["b",null]}"#, r#"{"a":["b",null]}"#);
        check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check(r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
        check(r#"{"a":[1]}"#, r#"{"a":[{"x":null,"y":1}]}"#, r#"{"a":[{"y":1}]}"#);
        check(r#"{"a":{"k":1}}"#, r#"{"a":[{"x":null}]}"#, r#"{"a":[{"x":null}]}"#);
        check(r#"{"a":null}"#, r#"{"a":{"x":null}}"#, r#"{"a":{}}"#);
        check(r#"{"a":1}"#, r#"[{"a":null},null]"#, r#"[{},null]"#);
        check(r#"{"a":1}"#, "{}", r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_merge_patch_is_refused() {
        #[track_caller]
        fn check(patch: &str, applied: &str, checked: &str) {
            let text = |result: Option<PatchError>| result.map_or(String::new(), |error| error.to_string());
            assert_eq!(text(apply(parse("{}"), patch.as_bytes()).err()), applied, "{patch}");
            assert_eq!(text(super::check(patch.as_bytes()).err()), checked, "{patch}");
        }
        let kind = |kind: &str| {
            format!(
                "error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )
        };
        check("{", "invalid JSON patch", "invalid JSON patch");
        check("", "invalid JSON patch", "invalid JSON patch");
        check("null", "Invalid JSON Patch", "");
        check("3", "Invalid JSON Patch", &kind("number"));
        check("true", "Invalid JSON Patch", &kind("bool"));
        check(r#""x""#, "Invalid JSON Patch", &kind("string"));
        check("[]", "", &kind("array"));
    }

    #[test]
    fn duplicate_fields_are_found() {
        #[track_caller]
        fn check(patch: &str, expected: &[&str]) {
            assert_eq!(super::check(patch.as_bytes()).expect("an object"), expected, "{patch}");
        }
        check(
            r#"{"data":{"k":"1","k":"2","k":"3"},"data":{"x":"y"},
                "a":[{"b":1,"b":2,"c":{"d":[1,{"e":1,"e":2}]}}],"metadata":{"labels":{"x":"1","x":"2"}}}"#,
            &[
                r#"duplicate field "data.k""#,
                r#"duplicate field "data""#,
                r#"duplicate field "a[0].b""#,
                r#"duplicate field "a[0].c.d[1].e""#,
                r#"duplicate field "metadata.labels.x""#,
            ],
        );
        check(r#"{"a":1,"b":{"a":1}}"#, &[]);
    }
}
