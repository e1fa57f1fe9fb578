//! Writes that are checked against the index and against each other, but not
//! yet written.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::index::Index;
use crate::{Event, Key, Record, Revision, StoreError, Value, Write};

pub(crate) struct Batch<'a> {
    index: &'a Index,
    now: Duration,
    pending: HashMap<Key, Option<Arc<Record>>>,
    revision: Revision,
    entries: Vec<Entry>,
}

/// What a write does.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) event: Arc<Event>,
    /// When the key expires, in time since the Unix epoch.
    pub(crate) expires: Option<Duration>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(index: &'a Index, now: Duration) -> Self {
        Self { index, now, pending: HashMap::new(), revision: index.revision(), entries: Vec::new() }
    }

    /// Adds a write, or says why it cannot be.
    pub(crate) fn write(&mut self, write: &Write) -> Result<Arc<Record>, StoreError> {
        match write {
            Write::Create { key, value, ttl } => match self.current(key) {
                Some(current) => Err(StoreError::Exists(current)),
                None => Ok(self.put(key.clone(), None, value, *ttl)),
            },
            Write::Update { key, expected, value, ttl } => {
                let current = self.expect(key, *expected)?;
                // One allocation of a key for all its versions.
                Ok(self.put(current.key.clone(), Some(current), value, *ttl))
            }
            Write::Delete { key, expected } => {
                let current = self.expect(key, *expected)?;
                let last = Arc::new(current.at(self.revision.next()));
                self.push(Some(current), last.clone(), true, None);
                Ok(last)
            }
        }
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    fn current(&self, key: &str) -> Option<Arc<Record>> {
        match self.pending.get(key) {
            Some(pending) => pending.clone(),
            None => self.index.get(key).cloned(),
        }
    }

    fn expect(&self, key: &Key, expected: Revision) -> Result<Arc<Record>, StoreError> {
        match self.current(key) {
            Some(current) if current.revision == expected => Ok(current),
            actual => Err(StoreError::RevisionMismatch { key: key.clone(), expected, actual }),
        }
    }

    fn put(
        &mut self,
        key: Key,
        previous: Option<Arc<Record>>,
        value: &Value,
        ttl: Option<Duration>,
    ) -> Arc<Record> {
        let revision = self.revision.next();
        let created = previous.as_ref().map_or(revision, |previous| previous.created);
        let record = Arc::new(Record::new(key, created, revision, value));
        let expires = ttl.map(|ttl| self.now.saturating_add(ttl));
        self.push(previous, record.clone(), false, expires);
        record
    }

    fn push(
        &mut self,
        previous: Option<Arc<Record>>,
        record: Arc<Record>,
        deleted: bool,
        expires: Option<Duration>,
    ) {
        self.revision = record.revision;
        self.pending.insert(record.key.clone(), (!deleted).then(|| record.clone()));
        let event = Arc::new(Event { revision: record.revision, previous, record, deleted });
        self.entries.push(Entry { event, expires });
    }
}
