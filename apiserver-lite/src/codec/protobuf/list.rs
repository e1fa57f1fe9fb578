//! Lists, joined from the messages of their items.

use bytes::Bytes;
use coracle_api::facts::meta_v1;
use serde_json::{Map, Value};

use super::write::{self, Message};

// So much is joined at a time, as of JSON.
const CHUNK: usize = 64 << 10;
const METADATA: u16 = 1;
const ITEMS: u16 = 2;

/// A list in its envelope, joined while it is sent.
pub struct Joined {
    opening: Option<Vec<u8>>,
    items: std::vec::IntoIter<Bytes>,
    left: usize,
}

impl Joined {
    /// The list of this kind with these messages as items.
    pub fn new(api_version: &str, kind: &str, metadata: &Map<String, Value>, items: Vec<Bytes>) -> Self {
        let mut head = Vec::new();
        let schema = &meta_v1::LIST_META;
        Message(&mut head).nested(METADATA, |out| out.fields(&schema.fields, 0, metadata));
        let bodies: usize = items.iter().map(|item| 1 + length_of(item.len()) + item.len()).sum();
        let mut opening = write::opening(api_version, kind, head.len() + bodies);
        opening.extend_from_slice(&head);
        let left = opening.len() + bodies + write::CLOSING.len();
        Self { opening: Some(opening), items: items.into_iter(), left }
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> usize {
        self.left
    }
}

// The length of a length on the wire.
fn length_of(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

impl Iterator for Joined {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut out = self.opening.take().unwrap_or_else(|| Vec::with_capacity(self.left.min(CHUNK)));
        while out.len() < CHUNK {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(write::CLOSING);
                break;
            };
            Message(&mut out).bytes(ITEMS, &item);
        }
        self.left = self.left.saturating_sub(out.len());
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(items: usize, size: usize) {
        let metadata = json!({ "resourceVersion": "7" });
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        let item = Bytes::from(vec![b'x'; size]);
        let joined = Joined::new("v1", "PodList", &metadata, vec![item; items]);
        let said = joined.left();
        let bytes = joined.collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), said, "the size is known before");
        assert!(bytes.ends_with(write::CLOSING));
        let mut expected = Vec::new();
        Message(&mut expected).nested(METADATA, |out| {
            out.text(1, "");
            out.text(2, "7");
            out.text(3, "");
        });
        for _ in 0..items {
            Message(&mut expected).bytes(ITEMS, &vec![b'x'; size]);
        }
        assert_eq!(bytes, write::envelope("v1", "PodList", &expected));
    }

    #[test]
    fn lists_are_their_items_in_an_envelope() {
        for (items, size) in [(0, 0), (1, 0), (2, 127), (2, 128), (3, 16_383), (30, 16_384)] {
            check(items, size);
        }
    }
}
