//! The frames of a watch: one event a line.

use bytes::{BufMut, BytesMut};
use coracle_api::{Object, Resource};

use super::json::inner;
use crate::schema::canonical::canonicalize;

/// Appends the frame of an event about an object with these JSON bytes.
pub fn json(out: &mut BytesMut, kind: &str, object: &[u8]) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(inner(object));
    out.put_slice(b"}\n");
}

/// A bookmark's object: everything up to `revision` was sent. It is an empty
/// object of the kind, with what Go writes of one.
/// `fill` adds what the kind's empty objects have besides.
pub fn bookmark(
    facts: &Resource,
    revision: u64,
    initial_end: bool,
    fill: impl FnOnce(&mut Object),
) -> Vec<u8> {
    let mut object = Object::default();
    object.0.insert("kind".to_owned(), facts.gvk.kind.as_ref().into());
    object.0.insert("apiVersion".to_owned(), facts.api_version().into());
    object.set_meta("resourceVersion", Some(revision.to_string().into()));
    if initial_end {
        object.set_meta("annotations", Some(serde_json::json!({ "k8s.io/initial-events-end": "true" })));
    }
    fill(&mut object);
    canonicalize(&mut object, &facts.schema);
    serde_json::to_vec(&object.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use coracle_api::facts::RESOURCES;

    use super::*;

    #[test]
    fn frames_are_lines() {
        let mut out = BytesMut::new();
        json(&mut out, "ADDED", b"{}");
        json(&mut out, "DELETED", b"{\"a\":1}");
        let expected = "{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"DELETED\",\"object\":{\"a\":1}}\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn bookmarks_are_empty_objects() {
        let of = |plural: &str, initial_end: bool| {
            let facts = RESOURCES.iter().find(|it| it.plural == plural).expect(plural);
            String::from_utf8(bookmark(facts, 12, initial_end, |_| {})).expect("text")
        };
        assert_eq!(
            of("pods", false),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"12"},"spec":{"containers":null},"status":{}}"#
        );
        assert_eq!(
            of("configmaps", true),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"12"}}"#
        );
    }
}
