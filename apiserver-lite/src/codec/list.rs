//! Lists, joined from the bytes of their items.

use bytes::{Buf, BufMut, Bytes, BytesMut};

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
    /// Whether the token is there though it is empty: lists of custom resources
    /// have it so.
    pub always_continues: bool,
}

// So much is joined at a time: few enough to be cheap, and a long list is never
// there twice.
const CHUNK: usize = 64 << 10;

/// Items of JSON between an opening and a closing, joined while they are sent.
pub struct Joined {
    opening: Bytes,
    items: std::vec::IntoIter<Item>,
    mould: Mould,
    closing: Bytes,
    state: State,
    left: usize,
}

/// What an item of a list is made of, beside what all of them have.
pub struct Item {
    /// Of this list alone: the cells of a row.
    pub own: Bytes,
    /// Of the object.
    pub shown: Bytes,
}

/// What all items have: before what is their own, between that and what is shown, and after it.
#[derive(Default)]
pub struct Mould {
    /// The beginning.
    pub before: Bytes,
    /// The middle.
    pub between: Bytes,
    /// The end.
    pub after: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    First,
    More,
    Done,
}

impl Joined {
    /// The list of objects with these bytes. Items of built-in kinds show neither apiVersion nor
    /// kind: their first `head` bytes (after the brace) are left out.
    pub fn new(meta: &ListMeta<'_>, objects: Vec<Bytes>, head: usize) -> Self {
        let mut out = BytesMut::with_capacity(256);
        open(&mut out, meta);
        let shown = |mut object: Bytes| {
            object.truncate(inner(&object).len());
            object.advance((1 + head).min(object.len()));
            object
        };
        let items = objects.into_iter().map(|it| Item { own: Bytes::new(), shown: shown(it) }).collect();
        let mould = Mould { before: Bytes::from_static(b"{"), ..Mould::default() };
        Self::of(out.freeze(), items, mould, Bytes::from_static(b"]}\n"))
    }

    /// Any items in their mould.
    pub fn of(opening: Bytes, items: Vec<Item>, mould: Mould, closing: Bytes) -> Self {
        let fixed = mould.before.len() + mould.between.len() + mould.after.len() + 1;
        let bodies: usize = items.iter().map(|item| fixed + item.own.len() + item.shown.len()).sum();
        // No comma comes before the first.
        let left = opening.len() + bodies - usize::from(!items.is_empty()) + closing.len();
        Self { opening, items: items.into_iter(), mould, closing, state: State::Opening, left }
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> usize {
        self.left
    }
}

impl Iterator for Joined {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.state == State::Done {
            return None;
        }
        // Most items are smaller than this: the last one seldom makes it grow.
        let mut out = BytesMut::with_capacity(self.left.min(CHUNK + CHUNK / 8));
        if self.state == State::Opening {
            out.put_slice(&self.opening);
            self.state = State::First;
        }
        while out.len() < CHUNK {
            let Some(item) = self.items.next() else {
                out.put_slice(&self.closing);
                self.state = State::Done;
                break;
            };
            if self.state == State::More {
                out.put_u8(b',');
            }
            self.state = State::More;
            let Mould { before, between, after } = &self.mould;
            for piece in [before, &item.own, between, &item.shown, after] {
                out.put_slice(piece);
            }
        }
        self.left = self.left.saturating_sub(out.len());
        Some(out.freeze())
    }
}

fn open(out: &mut BytesMut, meta: &ListMeta<'_>) {
    out.put_slice(
        format!("{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{{", meta.kind, meta.api_version)
            .as_bytes(),
    );
    out.put_slice(format!("\"resourceVersion\":\"{}\"", meta.revision).as_bytes());
    if meta.always_continues || !meta.continue_token.is_empty() {
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

    fn check(items: usize, size: usize, expected: impl Fn(&str) -> bool) {
        let text =
            format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}"}}}}"#, "a".repeat(size));
        let item = Bytes::from(format!("{text}\n"));
        let meta = ListMeta {
            kind: "PodList",
            api_version: "v1",
            revision: 7,
            continue_token: "",
            remaining: None,
            always_continues: false,
        };
        let joined = Joined::new(&meta, vec![item; items], head("v1", "Pod"));
        let said = joined.left();
        let text = String::from_utf8(joined.collect::<Vec<_>>().concat()).unwrap();
        assert_eq!(said, text.len(), "the size is known before");
        assert!(expected(&text), "{text}");
    }

    #[test]
    fn items_lose_their_head() {
        let opening = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":["#;
        let one = r#"{"metadata":{"name":"a"}}"#;
        check(0, 1, |text| text == format!("{opening}]}}\n"));
        check(2, 1, |text| text == format!("{opening}{one},{one}]}}\n"));
    }

    #[test]
    fn long_lists_come_in_pieces() {
        check(3000, 1000, |text| {
            let list: serde_json::Value = serde_json::from_str(text).unwrap();
            list["items"].as_array().is_some_and(|items| items.len() == 3000)
        });
    }
}
