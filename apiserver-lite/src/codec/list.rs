//! Lists, joined from the bytes of their items.

use bytes::{BufMut, Bytes, BytesMut};

use super::json::inner;

/// The metadata of a list.
pub struct ListMeta<'a> {
    /// The kind of the list.
    pub kind: &'a str,
    /// Its apiVersion.
    pub api_version: &'a str,
    /// The revision that it is as of.
    pub revision: u64,
    /// The token of the next page.
    pub continue_token: &'a str,
    /// How many items come after this page.
    pub remaining: Option<usize>,
}

// One chunk at a time goes to the connection: few enough to be cheap, small
// enough to be sent while the next is made.
const CHUNK: usize = 1 << 20;

/// The JSON of a list whose items have these bytes. Items of built-in kinds
/// show neither apiVersion nor kind: their first `head` bytes (after the
/// brace) are left out.
pub fn json<'a>(meta: &ListMeta<'_>, items: impl Iterator<Item = &'a Bytes>, head: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut out = BytesMut::with_capacity(4096);
    open(&mut out, meta);
    let mut first = true;
    for item in items {
        let needed = item.len() + 2;
        if out.len() + needed > CHUNK {
            chunks.push(std::mem::replace(&mut out, BytesMut::with_capacity(CHUNK.max(needed))).freeze());
        } else if out.capacity() - out.len() < needed {
            out.reserve(needed.max(out.capacity()));
        }
        if !std::mem::replace(&mut first, false) {
            out.put_u8(b',');
        }
        out.put_u8(b'{');
        out.put_slice(inner(item).get(1 + head..).unwrap_or_default());
    }
    out.put_slice(b"]}\n");
    chunks.push(out.freeze());
    chunks
}

fn open(out: &mut BytesMut, meta: &ListMeta<'_>) {
    out.put_slice(
        format!("{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{{", meta.kind, meta.api_version)
            .as_bytes(),
    );
    out.put_slice(format!("\"resourceVersion\":\"{}\"", meta.revision).as_bytes());
    if !meta.continue_token.is_empty() {
        out.put_slice(format!(",\"continue\":{:?}", meta.continue_token).as_bytes());
    }
    if let Some(remaining) = meta.remaining {
        out.put_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.put_slice(b"},\"items\":[");
}

/// The length of what stands before `"metadata"` in a stored object of this
/// apiVersion and kind.
pub fn head(api_version: &str, kind: &str) -> usize {
    format!("\"apiVersion\":{api_version:?},\"kind\":{kind:?},").len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_lose_their_head() {
        let item = Bytes::from_static(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#);
        let meta =
            ListMeta { kind: "PodList", api_version: "v1", revision: 7, continue_token: "", remaining: None };
        let chunks = json(&meta, [&item, &item].into_iter(), head("v1", "Pod"));
        let text = String::from_utf8(chunks.concat()).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"a"}}]}
"#
        );
    }
}
