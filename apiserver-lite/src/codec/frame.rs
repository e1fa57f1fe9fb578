//! The frames of a watch: one event a line.

use bytes::{BufMut, BytesMut};

/// Appends the frame of an event about an object with these JSON bytes.
pub fn json(out: &mut BytesMut, kind: &str, object: &[u8]) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}

/// A bookmark's object: everything up to `revision` was sent.
pub fn bookmark(api_version: &str, kind: &str, revision: u64, initial_end: bool) -> String {
    let annotations =
        if initial_end { ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" } else { "" };
    format!(
        "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{{\"resourceVersion\":\"{revision}\"{annotations}}}}}"
    )
}
