//! JSON (RFC 6902) patch, as the library upstream uses reads it: negative
//! indices count from the end, `replace` makes members that are missing, a
//! missing value is `null`.

use serde_json::{Map, Value};

use super::{PatchError, golang, strict};

const MOST_OPERATIONS: usize = 10_000;
// Upstream bounds what `copy` adds, so that few operations cannot fill memory.
const MOST_COPIED: usize = 3 * 1024 * 1024;
// Copies and moves can nest a tree as deep as they like; the reader of what is
// stored stops at 128 levels.
const DEEPEST: usize = 120;

/// Applies `patch` to `target`.
///
/// # Errors
/// `Malformed` when the patch is not a list of operations, `TooLarge` when
/// there are too many, `Unprocessable` when one does not fit.
pub fn apply(target: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch: Value = serde_json::from_slice(patch).map_err(|_| PatchError::not_json())?;
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => return Err(not_decoded("", &other, "value of type jsonpatch.Patch")),
    };
    if let Some(other) = operations.iter().find(|it| !it.is_object() && !it.is_null()) {
        return Err(not_decoded("", other, "value of type jsonpatch.Operation"));
    }
    if operations.len() > MOST_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut document = Document { root: target, copied: 0, depth: DEEPEST };
    for operation in operations {
        let operation = Operation(match operation {
            Value::Object(members) => members,
            _ => Map::new(),
        });
        document.apply(operation).map_err(PatchError::Unprocessable)?;
    }
    Ok(document.root)
}

/// What `fieldValidation` finds in the patch: `json patch unknown field "[0].foo"`.
///
/// # Errors
/// `Malformed` when it is not a list of operations.
pub fn check(patch: &[u8]) -> Result<Vec<String>, PatchError> {
    const PREFIX: &str = "error decoding patch: ";
    let decoded: Value = serde_json::from_slice(patch).map_err(|_| PatchError::not_json())?;
    let operations = match &decoded {
        Value::Array(operations) => operations.as_slice(),
        Value::Null => &[],
        other => return Err(not_decoded(PREFIX, other, "value of type []handlers.jsonPatchOp")),
    };
    for operation in operations {
        let members = match operation {
            Value::Object(members) => members,
            Value::Null => continue,
            other => return Err(not_decoded(PREFIX, other, "value of type handlers.jsonPatchOp")),
        };
        for name in ["op", "path", "from"] {
            if let Some(value) = members.get(name).filter(|it| !it.is_string() && !it.is_null()) {
                let into = format!("struct field jsonPatchOp.{name} of type string");
                return Err(not_decoded(PREFIX, value, &into));
            }
        }
    }
    let found = strict::operations(patch)?;
    Ok(found.into_iter().map(|text| format!("json patch {text}")).collect())
}

fn not_decoded(prefix: &str, value: &Value, into: &str) -> PatchError {
    let kind = golang::json_kind(value);
    PatchError::Malformed(format!("{prefix}json: cannot unmarshal {kind} into Go {into}"))
}

struct Operation(Map<String, Value>);

impl Operation {
    fn pointer(&self, member: &str) -> Result<Pointer, String> {
        match self.0.get(member) {
            Some(Value::String(text)) => Ok(Pointer::parse(text)),
            _ => Err(format!("operation missing {member} field: missing value")),
        }
    }

    fn value(&mut self) -> Value {
        self.0.remove("value").unwrap_or_default()
    }
}

/// A JSON pointer, split at its last token.
struct Pointer {
    text: String,
    parents: Vec<String>,
    last: Option<String>,
}

impl Pointer {
    fn parse(text: &str) -> Self {
        // What stands before the first slash does not matter.
        let mut tokens: Vec<String> =
            text.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
        let last = tokens.pop();
        Self { text: text.to_owned(), parents: tokens, last }
    }

    fn depth(&self) -> usize {
        self.parents.len() + 1
    }
}

/// Where in a list an index points.
fn index(token: &str, len: usize) -> Result<usize, String> {
    let index: i64 = token.parse().map_err(|_| format!("value was not a proper array index: '{token}'"))?;
    let at = if index < 0 { i64::try_from(len).unwrap_or(i64::MAX) + index } else { index };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}

struct Document {
    root: Value,
    copied: usize,
    // No part of the tree is known to be deeper than this.
    depth: usize,
}

impl Document {
    fn apply(&mut self, mut operation: Operation) -> Result<(), String> {
        let kind = match operation.0.get("op") {
            Some(Value::String(kind)) => kind.clone(),
            _ => "unknown".to_owned(),
        };
        match kind.as_str() {
            "add" => {
                let path = operation.pointer("path")?;
                let value = operation.value();
                if path.depth() + depth(&value) > DEEPEST {
                    return Err(too_deep());
                }
                self.add(&path, value)
            }
            "remove" => self.remove(&operation.pointer("path")?).map(drop),
            "replace" => {
                let path = operation.pointer("path")?;
                let value = operation.value();
                self.replace(&path, value)
            }
            "move" => {
                let from = operation.pointer("from")?;
                let value = self.remove(&from)?;
                let path = operation.pointer("path")?;
                self.deepened(&from, &path, &value)?;
                self.add(&path, value)
            }
            "test" => {
                let path = operation.pointer("path")?;
                self.test(&path, &operation.value())
            }
            "copy" => {
                let from = operation.pointer("from")?;
                let value = self.get(&from)?.cloned().unwrap_or_default();
                let path = operation.pointer("path")?;
                self.copied += value.to_string().len();
                if self.copied > MOST_COPIED {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MOST_COPIED}",
                        self.copied
                    ));
                }
                self.deepened(&from, &path, &value)?;
                self.add(&path, value)
            }
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    // Counts levels only when the bound on them does not already do.
    fn deepened(&mut self, from: &Pointer, path: &Pointer, value: &Value) -> Result<(), String> {
        if self.depth.saturating_sub(from.depth()) + path.depth() > DEEPEST {
            self.depth = depth(&self.root).max(from.depth() + depth(value));
        }
        let deepest = self.depth.saturating_sub(from.depth()) + path.depth();
        if deepest > DEEPEST && path.depth() + depth(value) > DEEPEST {
            return Err(too_deep());
        }
        self.depth = self.depth.max(deepest);
        Ok(())
    }

    fn container(&mut self, path: &Pointer) -> Result<(&mut Value, String), String> {
        let missing = || format!("doc is missing path: {}: missing value", path.text);
        let last = path.last.clone().ok_or_else(missing)?;
        let mut at = &mut self.root;
        for token in &path.parents {
            at = match at {
                Value::Object(map) => map.get_mut(token),
                Value::Array(list) => match index(token, list.len()) {
                    Ok(index) => list.get_mut(index),
                    Err(_) => None,
                },
                _ => None,
            }
            .ok_or_else(missing)?;
        }
        if at.is_object() || at.is_array() { Ok((at, last)) } else { Err(missing()) }
    }

    // A member that is missing reads as none, an index that is missing is an error.
    fn get(&mut self, path: &Pointer) -> Result<Option<&Value>, String> {
        let (container, last) = self.container(path)?;
        match container {
            Value::Array(list) => {
                let index = index(&last, list.len())?;
                Ok(list.get(index))
            }
            other => Ok(other.get(&last)),
        }
    }

    fn add(&mut self, path: &Pointer, value: Value) -> Result<(), String> {
        match self.container(path)? {
            (Value::Array(list), last) if last == "-" => list.push(value),
            (Value::Array(list), last) => {
                let index = index(&last, list.len() + 1)?;
                list.insert(index, value);
            }
            (Value::Object(map), last) => {
                map.insert(last, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, path: &Pointer) -> Result<Value, String> {
        match self.container(path)? {
            (Value::Array(list), last) => {
                let index = index(&last, list.len())?;
                Ok(list.remove(index))
            }
            (other, last) => {
                let map = other.as_object_mut();
                map.and_then(|map| map.remove(&last))
                    .ok_or_else(|| format!("Unable to remove nonexistent key: {last}: missing value"))
            }
        }
    }

    fn replace(&mut self, path: &Pointer, value: Value) -> Result<(), String> {
        if path.text.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array".to_owned());
            }
            self.root = value;
            self.depth = DEEPEST;
            return Ok(());
        }
        if path.depth() + depth(&value) > DEEPEST {
            return Err(too_deep());
        }
        match self.container(path)? {
            (Value::Array(list), last) => {
                let index = index(&last, list.len())?;
                list[index] = value;
            }
            (Value::Object(map), last) => {
                map.insert(last, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn test(&mut self, path: &Pointer, value: &Value) -> Result<(), String> {
        let equal = if path.text.is_empty() {
            self.root == *value
        } else {
            self.get(path)?.unwrap_or(&Value::Null) == value
        };
        if equal { Ok(()) } else { Err(format!("testing value {} failed: test failed", path.text)) }
    }
}

fn too_deep() -> String {
    format!("the result is nested deeper than {DEEPEST} levels")
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        serde_json::from_str(json).expect("test JSON")
    }

    #[test]
    fn operations_apply() {
        #[track_caller]
        fn check(target: &str, patch: &str, expected: &str) {
            assert_eq!(apply(parse(target), patch.as_bytes()), Ok(parse(expected)), "{target} {patch}");
        }
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2}]"#, r#"{"a":1,"b":2}"#);
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b"}]"#, r#"{"a":1,"b":null}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/-","value":3}]"#, r#"{"a":[1,2,3]}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/0","value":3}]"#, r#"{"a":[3,1,2]}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/2","value":3}]"#, r#"{"a":[1,2,3]}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/-1","value":3}]"#, r#"{"a":[1,2,3]}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/-1"}]"#, r#"{"a":[1]}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/-2","value":5}]"#, r#"{"a":[5,2]}"#);
        check(r#"{"a":1}"#, r#"[{"op":"replace","path":"/z","value":2}]"#, r#"{"a":1,"z":2}"#);
        check(r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":1}}]"#, r#"{"b":1}"#);
        check(r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, r#"{"a":{},"c":1}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a/0","path":"/a/-"}]"#, r#"{"a":[1,2,1]}"#);
        check(r#"{"a":1}"#, r#"[{"op":"copy","from":"/no","path":"/b"}]"#, r#"{"a":1,"b":null}"#);
        check(
            r#"{"a/b":1,"c~d":2}"#,
            r#"[{"op":"remove","path":"/a~1b"},{"op":"remove","path":"/c~0d"}]"#,
            "{}",
        );
        check(r#"{"":{"":1}}"#, r#"[{"op":"remove","path":"//"}]"#, r#"{"":{}}"#);
        check(r#"{"a":{"b":1.0}}"#, r#"[{"op":"test","path":"/a","value":{"b":1.0}}]"#, r#"{"a":{"b":1.0}}"#);
        check(r#"{}"#, r#"[{"op":"test","path":"/a"},{"op":"test","path":"/a","value":null}]"#, "{}");
        check(r#"{}"#, r#"[{"op":"test","path":"","value":{}}]"#, "{}");
        check(r#"{"a":1}"#, "null", r#"{"a":1}"#);
        check(r#"{"a":1}"#, "[]", r#"{"a":1}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        #[track_caller]
        fn check(target: &str, patch: &str) {
            let result = apply(parse(target), patch.as_bytes());
            assert!(matches!(result, Err(PatchError::Unprocessable(_))), "{target} {patch}: {result:?}");
        }
        check(r#"{"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":1}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"/a/c","value":1}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{}}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":1}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/2","value":1}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-3","value":1}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/x","value":1}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/1"}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/-"}]"#);
        check(r#"{"a":[]}"#, r#"[{"op":"remove","path":"/a/-1"}]"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"replace","path":"/a/1","value":1}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.0}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/b/c","value":null}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"move","from":"/b","path":"/c"}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"copy","path":"/c"}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"frob","path":"/c"}]"#);
        check(r#"{"a":1}"#, r#"[{"op":3,"path":"/c"}]"#);
        check(r#"{"a":1}"#, r#"[{"op":"add","path":3,"value":1}]"#);
        check(r#"{"a":1}"#, "[null]");
    }

    #[test]
    fn what_is_no_json_patch_is_refused() {
        #[track_caller]
        fn check(patch: &str, applied: &str, checked: &str) {
            let text = |error: Option<PatchError>| error.map_or(String::new(), |error| error.to_string());
            assert_eq!(text(apply(parse("{}"), patch.as_bytes()).err()), applied, "{patch}");
            assert_eq!(text(super::check(patch.as_bytes()).err()), checked, "{patch}");
        }
        const REJECTED: &str = "the server rejected our request due to an error in our request";
        check("[", "invalid JSON patch", "invalid JSON patch");
        check(
            "{}",
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        );
        check(
            "[3]",
            "json: cannot unmarshal number into Go value of type jsonpatch.Operation",
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        );
        check(
            r#"[{"op":3,"path":"/a"}]"#,
            REJECTED,
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
        );
        check("[null]", REJECTED, "");
        let many = format!("[{}null]", "null,".repeat(10_000));
        check(
            &many,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
            "",
        );
    }

    #[test]
    fn unknown_and_duplicate_members_are_found() {
        let patch = r#"[{"op":"add","op":"add","path":"/x","value":"y","foo":1,"foo":2,"Path":"x"},
            {"op":"add","path":"/q","value":{"a":1,"a":2}},{"op":"test","path":"/k","zed":{"a":1,"a":2}}]"#;
        let expected = [
            r#"json patch duplicate field "[0].op""#,
            r#"json patch unknown field "[0].foo""#,
            r#"json patch unknown field "[0].Path""#,
            r#"json patch duplicate field "[1].value.a""#,
            r#"json patch unknown field "[2].zed""#,
        ];
        assert_eq!(check(patch.as_bytes()).expect("a list of operations"), expected);
    }

    #[test]
    fn copies_are_bounded() {
        #[track_caller]
        fn check(operations: &[&str], times: usize) {
            let all: Vec<&str> = operations.iter().copied().cycle().take(times * operations.len()).collect();
            let patch = format!("[{}]", all.join(","));
            let target = parse(r#"{"a":{"text":"0123456789"}}"#);
            let result = apply(target, patch.as_bytes());
            assert!(matches!(result, Err(PatchError::Unprocessable(_))), "{operations:?}");
        }
        // Doubles, so 30 rounds would be gigabytes.
        check(
            &[
                r#"{"op":"copy","from":"/a","path":"/b"}"#,
                r#"{"op":"add","path":"/c","value":{}}"#,
                r#"{"op":"move","from":"/b","path":"/c/x"}"#,
                r#"{"op":"copy","from":"/a","path":"/c/y"}"#,
                r#"{"op":"move","from":"/c","path":"/a"}"#,
            ],
            30,
        );
        // One level deeper each round.
        check(
            &[
                r#"{"op":"add","path":"/b","value":{}}"#,
                r#"{"op":"move","from":"/a","path":"/b/a"}"#,
                r#"{"op":"move","from":"/b","path":"/a"}"#,
            ],
            1000,
        );
    }
}
