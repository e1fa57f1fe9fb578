//! What is made of stored objects to show them, and kept for the next who asks: messages in protobuf, where in
//! their bytes the metadata ends, the cells of tables.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{GroupVersionKind, facts::meta_v1};
use coracle_store::Record;
use jiff::Timestamp;

use super::{
    json,
    kept::Kept,
    list, partial, protobuf,
    table::{self, Cells, Include},
};
use crate::{handlers::answer::shown, resources::Row};

// A message of each of ten thousand pods.
const MESSAGES: usize = 64 << 20;
const PARTIALS: usize = 32 << 20;
const CELLS: usize = 16 << 20;
const ENDS: usize = 8 << 20;

/// What is kept, each kind of it bounded.
pub struct Shows {
    messages: Kept<GroupVersionKind, Bytes>,
    partials: Kept<GroupVersionKind, Bytes>,
    // The definition of a custom kind says what its columns are.
    cells: Kept<(GroupVersionKind, u64), Arc<Cells>>,
    ends: Kept<(), u32>,
}

impl Default for Shows {
    fn default() -> Self {
        Self {
            messages: Kept::new(MESSAGES),
            partials: Kept::new(PARTIALS),
            cells: Kept::new(CELLS),
            ends: Kept::new(ENDS),
        }
    }
}

impl Shows {
    /// A record as a protobuf message without its envelope, made once.
    pub fn message(&self, row: &Row, record: &Record) -> Bytes {
        self.messages.get(record.revision, &row.facts.gvk, || {
            let object = json::parse_stored(&shown(row, record));
            Bytes::from(protobuf::write::message(&object.0, &row.facts.schema))
        })
    }

    /// A record's metadata as a `PartialObjectMetadata` message, made once.
    pub fn partial(&self, row: &Row, record: &Record) -> Bytes {
        self.partials.get(record.revision, &row.facts.gvk, || {
            let metadata = json::tree(&self.metadata(row, record));
            let object = serde_json::Map::from_iter([("metadata".to_owned(), metadata)]);
            Bytes::from(protobuf::write::message(&object, &meta_v1::PARTIAL_OBJECT_METADATA))
        })
    }

    /// The JSON of a record's metadata.
    pub fn metadata(&self, row: &Row, record: &Record) -> Bytes {
        let bytes = shown(row, record);
        let carriers = row.strategy.carriers();
        if !carriers.is_empty() {
            let object = json::parse_stored(&bytes);
            let metadata = table::without(&object, carriers).metadata().cloned().unwrap_or_default();
            return serde_json::Value::Object(metadata).to_string().into();
        }
        let head = list::head(&row.facts.api_version(), &row.facts.gvk.kind);
        // The end is that of the bytes as they are stored.
        let stored = bytes.as_ptr() == record.bytes.as_ptr();
        if stored && let Some(end) = self.ends.find(record.revision, &()) {
            let start = partial::start_of_metadata(head);
            return bytes.slice(start.min(end as usize)..end as usize);
        }
        let Some(range) = partial::metadata_in(&bytes, head) else {
            let metadata = json::parse_stored(&bytes).metadata().cloned().unwrap_or_default();
            return serde_json::Value::Object(metadata).to_string().into();
        };
        if stored && let Ok(end) = u32::try_from(range.end) {
            self.ends.put(record.revision, (), end);
        }
        bytes.slice(range)
    }

    /// The row of a record in a table, at this time.
    pub fn row(&self, row: &Row, record: &Record, include: Include, now: Timestamp) -> list::Item {
        let mut object = None;
        let mut parsed = || json::parse_stored(&shown(row, record));
        let key = (row.facts.gvk.clone(), row.strategy.stamp());
        let own = match self.cells.find(record.revision, &key) {
            Some(cells) => cells.at(now),
            None => {
                let object = object.get_or_insert_with(&mut parsed);
                match Cells::of(object, row, now) {
                    Some(cells) => {
                        let cells = Arc::new(cells);
                        if row.strategy.shows_as_stored(record.revision) {
                            self.cells.put(record.revision, key, cells.clone());
                        }
                        cells.at(now)
                    }
                    None => table::cells(object, row, now).to_string().into(),
                }
            }
        };
        let shown = match include {
            Include::None => Bytes::new(),
            Include::Object => {
                let bytes = shown(row, record);
                let end = json::inner(&bytes).len();
                bytes.slice(..end)
            }
            Include::Metadata => self.metadata(row, record),
        };
        list::Item { own, shown }
    }
}
