//! JSON as objects are stored and sent.
//!
//! A stored object begins with its apiVersion and kind, so that an item of a
//! list, which has neither, is a cut of the same bytes; its resourceVersion is
//! a hole that the store fills. It ends its line, as upstream's answers do.

use bytes::Bytes;
use coracle_api::Object;
use coracle_store::Value as Stored;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The bytes to store for `object`, with the hole for its revision.
pub fn encode(object: &Object) -> Stored {
    let mut hole = None;
    let bytes = laid_out(object, |out, metadata| {
        out.push(b'{');
        let mut wrote = false;
        let mut field = |out: &mut Vec<u8>, name: &str, value: Option<&Value>| {
            if std::mem::replace(&mut wrote, true) {
                out.push(b',');
            }
            write(out, name);
            out.push(b':');
            match value {
                Some(value) => write(out, value),
                None => {
                    hole = u32::try_from(out.len() + 1).ok();
                    out.extend_from_slice(b"\"\"");
                }
            }
        };
        let mut pending = true;
        for (name, value) in metadata {
            if pending && name.as_str() >= "resourceVersion" {
                field(out, "resourceVersion", None);
                pending = false;
            }
            if name != "resourceVersion" {
                field(out, name, Some(value));
            }
        }
        if pending {
            field(out, "resourceVersion", None);
        }
        out.push(b'}');
    });
    Stored { bytes, hole }
}

/// The bytes of an object that is not stored so: a dry run's, or one in
/// another version than the stored. They are laid out as stored ones are.
pub fn plain(object: &Object) -> Bytes {
    laid_out(object, write)
}

fn laid_out(object: &Object, metadata: impl FnOnce(&mut Vec<u8>, &Map<String, Value>)) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"apiVersion\":");
    write(&mut out, &object.0.get("apiVersion").cloned().unwrap_or_default());
    out.extend_from_slice(b",\"kind\":");
    write(&mut out, &object.0.get("kind").cloned().unwrap_or_default());
    if let Some(map) = object.metadata() {
        out.extend_from_slice(b",\"metadata\":");
        metadata(&mut out, map);
    }
    for (name, value) in &object.0 {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        out.push(b',');
        write(&mut out, name);
        out.push(b':');
        write(&mut out, value);
    }
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// JSON in a line of its own, as Go's encoder writes it.
pub fn line(value: &(impl serde::Serialize + ?Sized)) -> Bytes {
    let mut out = Vec::with_capacity(256);
    write(&mut out, value);
    out.push(b'\n');
    Bytes::from(out)
}

/// An object's bytes without the end of their line, to stand in something.
pub fn inner(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// Where the object ends that these bytes begin with; `None` if it does not.
pub fn end_of_object(json: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, &byte) in json.iter().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The same JSON with a line for each value, as people read it.
pub fn indent(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0;
    let (mut quoted, mut escaped, mut opened) = (false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for &byte in json {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if std::mem::replace(&mut opened, false) && !closes {
            line(&mut out, depth);
        } else if closes && !matches!(out.last(), Some(b'{' | b'[')) {
            line(&mut out, depth.saturating_sub(1));
        }
        match byte {
            b'{' | b'[' => {
                depth += 1;
                opened = true;
                out.push(byte);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
    Bytes::from(out)
}

fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // Writing a JSON tree into memory has no way to fail.
    let _ = serde_json::to_writer(out, value);
}

/// Reads stored bytes back. Bytes that are no object give an empty one.
pub fn parse_stored(bytes: &[u8]) -> Object {
    Object::from_value(tree(bytes)).unwrap_or_default()
}

/// The tree of JSON that we wrote, however deep: decoding bounded that. Bytes
/// that are no JSON give `null`.
pub fn tree(bytes: &[u8]) -> Value {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    Value::deserialize(&mut reader).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coracle_store::{Record, Revision};

    use super::*;

    #[test]
    fn indented_json_is_what_go_writes() {
        let check = |json: &str| {
            let value: Value = serde_json::from_str(json).expect("JSON");
            let expected = serde_json::to_string_pretty(&value).expect("JSON");
            assert_eq!(indent(json.as_bytes()), expected, "{json}");
        };
        check(r#"{"a":[1,{"b":null}],"c":{},"d":[],"e":[[]],"f":"x,{\"\\\\ ]"}"#);
        check("[ ]\n");
        check("{ \"a\" : 1 }");
        check("\"a\"");
    }

    #[test]
    fn objects_end_at_their_brace() {
        let check = |json: &str, expected: Option<usize>| {
            assert_eq!(end_of_object(json.as_bytes()), expected, "{json}");
        };
        check("{},", Some(2));
        check(r#"{"a":{"}":"\"}","b":[{}]}},"c":1"#, Some(26));
        check(r#"{"a":"\\"}"#, Some(10));
        check(r#"{"a":{}"#, None);
        check("[]", None);
        check("}", None);
        check("", None);
    }

    #[test]
    fn reads_what_decoding_lets_in() {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        assert_eq!(inner(&line(&parse_stored(text.as_bytes()).0)), text.as_bytes());
        assert_eq!(parse_stored(b"[1]"), Object::default());
    }

    // A list cuts the same head off all of its items.
    #[test]
    fn what_is_not_stored_is_laid_out_as_what_is() {
        let text = r#"{"action":"a","apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a"}}"#;
        let laid_out =
            r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a"},"action":"a"}"#;
        assert_eq!(inner(&plain(&parse_stored(text.as_bytes()))), laid_out.as_bytes());
    }

    #[test]
    fn the_store_fills_the_revision_in() {
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"3","uid":"u"},"data":{"k":"v"}}"#;
        let object = parse_stored(text.as_bytes());
        let record = Record::new(Arc::from("k"), Revision(1), Revision(42), &encode(&object));
        assert_eq!(record.bytes, format!("{}\n", text.replace("\"3\"", "\"42\"")));
    }
}
