//! What happened to a key.

use std::sync::Arc;

use crate::{Key, Record, Revision};

/// One write, as watchers see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The write's revision.
    pub revision: Revision,
    /// The version before it; `None` for a creation.
    pub previous: Option<Arc<Record>>,
    /// The version after it; for a deletion the last state, with the
    /// deletion's revision in its bytes.
    pub record: Arc<Record>,
    /// Whether the key is gone.
    pub deleted: bool,
}

impl Event {
    /// The key that was written.
    pub fn key(&self) -> &Key {
        &self.record.key
    }
}

/// Takes events as they are committed, in order. Called by the store before
/// the write is acknowledged, so it must be quick and must not wait.
pub trait Sink: Send + Sync + 'static {
    /// A batch of events, revisions ascending. When a store opens, the events
    /// that it still has from before come first.
    fn publish(&self, events: &[Arc<Event>]);
}

/// A sink for whoever needs no events.
#[derive(Debug, Clone, Copy)]
pub struct NoSink;

impl Sink for NoSink {
    fn publish(&self, _: &[Arc<Event>]) {}
}
