//! What is in the store: the newest version of each key, and the events by
//! which older states are found.
//!
//! Everything in it is persistent, so a clone costs nothing and stays as it is
//! while the store goes on.

use std::{ops::Bound, sync::Arc};

use imbl::{OrdMap, Vector};

use super::Retention;
use crate::{Event, Key, Page, Range, Record, Revision};

/// The newest version of each key as of one revision.
pub(crate) type Live = OrdMap<Key, Arc<Record>>;

#[derive(Clone)]
pub(crate) struct Index {
    live: Live,
    history: Vector<Arc<Event>>,
    revision: Revision,
    oldest: Revision,
    held: u64,
    superseded: u64,
}

impl Index {
    /// An index without keys whose history starts after `oldest`.
    pub(crate) fn new(oldest: Revision) -> Self {
        Self { live: Live::new(), history: Vector::new(), revision: oldest, oldest, held: 0, superseded: 0 }
    }

    /// Takes in a version without its event, and returns the one before.
    pub(crate) fn restore(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        self.live.insert(record.key.clone(), record)
    }

    /// Takes in a deletion without its event, and returns the last version.
    pub(crate) fn restore_deletion(&mut self, key: &str) -> Option<Arc<Record>> {
        self.live.remove(key)
    }

    /// Takes in the event of what was restored.
    pub(crate) fn remember(&mut self, event: Arc<Event>) {
        self.revision = event.revision;
        let held = held(&event);
        self.held += held;
        self.superseded += held;
        self.history.push_back(event);
    }

    pub(crate) fn apply(&mut self, event: Arc<Event>) {
        if event.deleted {
            self.live.remove(&*event.record.key);
        } else {
            self.live.insert(event.record.key.clone(), event.record.clone());
        }
        self.remember(event);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.live.get(key)
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) fn history(&self) -> &Vector<Arc<Event>> {
        &self.history
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Bytes of versions that were replaced or deleted, ever.
    pub(crate) fn superseded(&self) -> u64 {
        self.superseded
    }

    /// The same at the time of a revision from `oldest` to the newest.
    pub(crate) fn superseded_at(&self, revision: Revision) -> u64 {
        let since = self.history.iter().rev().take_while(|event| event.revision > revision);
        self.superseded - since.map(|event| held(event)).sum::<u64>()
    }

    /// The keys as of a revision from `oldest` to the newest.
    pub(crate) fn as_of(&self, revision: Revision) -> Live {
        let mut live = self.live.clone();
        for event in self.history.iter().rev().take_while(|event| event.revision > revision) {
            match &event.previous {
                Some(previous) => live.insert(previous.key.clone(), previous.clone()),
                None => live.remove(&*event.record.key),
            };
        }
        live
    }

    /// Forgets the states before `until`, and older ones as `retention` says,
    /// but no more than `step` events at once. Returns these events.
    pub(crate) fn compact(&mut self, until: Revision, retention: &Retention, step: usize) -> Vec<Arc<Event>> {
        let mut forgotten = Vec::new();
        while forgotten.len() < step
            && let Some(event) = self.history.front()
            && (event.revision <= until
                || self.history.len() > retention.events
                || self.held > retention.bytes)
        {
            self.held -= held(event);
            self.oldest = event.revision;
            forgotten.extend(self.history.pop_front());
        }
        if self.history.front().is_none_or(|event| event.revision > until) {
            self.oldest = self.oldest.max(until.min(self.revision));
        }
        forgotten
    }
}

// The bytes that only the history keeps.
fn held(event: &Event) -> u64 {
    let previous = event.previous.as_ref().map_or(0, |record| record.bytes.len());
    let last = if event.deleted { event.record.bytes.len() } else { 0 };
    (previous + last) as u64
}

/// The page of `range` in `live`, which is as of `revision`.
pub(crate) fn page(live: &Live, range: &Range, revision: Revision) -> Page {
    let limit = if range.limit == 0 { usize::MAX } else { range.limit };
    let start = match &range.after {
        Some(after) if **after >= *range.prefix => Bound::Excluded(&**after),
        _ => Bound::Included(&*range.prefix),
    };
    let end = end_of(&range.prefix);
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    // The map refuses a range that ends before it starts.
    if let (Bound::Excluded(start), Bound::Excluded(end)) = (start, end)
        && start >= end
    {
        return Page { records: Vec::new(), revision, remaining: 0 };
    }
    let mut rest = live.range::<_, str>((start, end));
    let records = rest.by_ref().take(limit).map(|(_, record)| record.clone()).collect();
    Page { records, revision, remaining: rest.count() }
}

// The first string after all that begin with `prefix`: code points sort as
// UTF-8 does.
fn end_of(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_prefix() {
        let check =
            |prefix: &str, end: Option<&str>| assert_eq!(end_of(prefix).as_deref(), end, "{prefix:?}");
        check("", None);
        check("/registry/pods/", Some("/registry/pods0"));
        check("a\u{d7ff}", Some("a\u{e000}"));
        check("a\u{10ffff}", Some("b"));
        check("\u{10ffff}", None);
    }
}
