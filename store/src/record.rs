//! One version of one key.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{Key, Revision};

/// Bytes to store, with the place where their revision goes.
#[derive(Debug, Clone)]
pub struct Value {
    /// The bytes without the revision.
    pub bytes: Bytes,
    /// The offset at which the decimal digits of the write's revision are
    /// inserted when the bytes are read back; `None` inserts nothing.
    pub hole: Option<u32>,
}

/// A version of a key, with its revision written into its bytes.
pub struct Record {
    /// The key.
    pub key: Key,
    /// The revision that created the key.
    pub created: Revision,
    /// The revision that wrote this version.
    pub revision: Revision,
    /// The value with the revision in its hole.
    pub bytes: Bytes,
    /// Where the revision's digits start in `bytes`.
    pub hole: Option<u32>,
    view: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Record {
    /// A version of `key` whose value is `value`, written at `revision`. A hole
    /// past the end of the value is at its end.
    pub fn new(key: Key, created: Revision, revision: Revision, value: &Value) -> Self {
        let hole = value.hole.map(|hole| hole.min(u32::try_from(value.bytes.len()).unwrap_or(u32::MAX)));
        let bytes = match hole {
            // The value may be a slice of a much larger buffer, which the
            // record must not keep alive.
            None => Bytes::copy_from_slice(&value.bytes),
            Some(hole) => splice(&value.bytes, hole as usize, hole as usize, revision),
        };
        Self::stored(key, created, revision, bytes, hole)
    }

    /// The same bytes as of another revision: what a deletion's event shows.
    pub fn at(&self, revision: Revision) -> Self {
        let bytes = match self.hole {
            None => self.bytes.clone(),
            Some(hole) => {
                let start = hole as usize;
                splice(&self.bytes, start, start + digits(self.revision), revision)
            }
        };
        Self::stored(self.key.clone(), self.created, revision, bytes, self.hole)
    }

    /// A version whose bytes have their revision already.
    pub(crate) fn stored(
        key: Key,
        created: Revision,
        revision: Revision,
        bytes: Bytes,
        hole: Option<u32>,
    ) -> Self {
        Self { key, created, revision, bytes, hole, view: OnceLock::new() }
    }

    /// Whether the revision stands in the hole.
    pub(crate) fn is_whole(&self) -> bool {
        self.hole.is_none_or(|hole| {
            let start = hole as usize;
            self.bytes.get(start..start + digits(self.revision)) == Some(self.revision.to_string().as_bytes())
        })
    }

    /// Whether the record's bytes are `value`, their revision aside.
    pub fn holds(&self, value: &Value) -> bool {
        match (self.hole, value.hole) {
            (None, None) => self.bytes == value.bytes,
            (Some(mine), Some(other)) if mine == other => {
                let (start, end) = (mine as usize, mine as usize + digits(self.revision));
                self.bytes[..start] == value.bytes[..start] && self.bytes[end..] == value.bytes[start..]
            }
            _ => false,
        }
    }

    /// What the record's reader keeps beside the bytes (an index, other
    /// encodings), made at the first call. It lives as long as the record.
    pub fn view<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Arc<T> {
        let view = self.view.get_or_init(|| Arc::new(make(self)));
        match Arc::clone(view).downcast() {
            Ok(view) => view,
            Err(_) => unreachable!("a record has one reader, which keeps one kind of view"),
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

fn digits(revision: Revision) -> usize {
    revision.0.checked_ilog10().unwrap_or(0) as usize + 1
}

// Allocates exactly what the record keeps.
fn splice(bytes: &[u8], start: usize, end: usize, revision: Revision) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + digits(revision) - (end - start));
    out.extend_from_slice(&bytes[..start]);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.extend_from_slice(&bytes[end..]);
    out.into()
}
