//! The cluster's data: revisions, compare-and-set, events, compaction.
//!
//! A store holds bytes under keys and knows nothing about kinds. Its revisions
//! and keys are etcd's: one counter for the whole store, raised by each write;
//! an object's resourceVersion is the revision that wrote it. Start at
//! [`Store`]; [`Embedded`] is the one in this process.
//!
//! Invariants: an acknowledged write is on disk (durable mode); events reach
//! the [`Sink`] in the order of revisions, before their write is acknowledged,
//! each exactly once; a read that starts after an acknowledgement sees it.

mod embedded;
mod event;
mod record;

use std::{sync::Arc, time::Duration};

pub use embedded::{Clock, Dropped, Embedded, Found, Mode, Options, Retention, system_clock};
pub use event::{Event, NoSink, Sink};
pub use record::{Record, Value};

/// A key, `/registry/pods/default/web`.
pub type Key = Arc<str>;

/// A revision of the whole store. A new store is at 1, as etcd is, so that 0
/// is free to mean none; the first write is at 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Revision {
    /// What a store without a write is at.
    pub const FIRST: Self = Self(1);
}

/// One write, all or nothing.
#[derive(Debug, Clone)]
pub enum Write {
    /// Creates a key that must not be there.
    Create {
        /// The key.
        key: Key,
        /// Its value.
        value: Value,
        /// The store deletes the key by itself this long after the write.
        ttl: Option<Duration>,
    },
    /// Replaces a key that must be at `expected`. Its time to live, if it has
    /// one, starts anew with `ttl`.
    Update {
        /// The key.
        key: Key,
        /// The revision that it must be at.
        expected: Revision,
        /// Its new value.
        value: Value,
        /// As in `Create`.
        ttl: Option<Duration>,
    },
    /// Deletes a key that must be at `expected`. The event carries its last
    /// value, with the deletion's revision in the hole.
    Delete {
        /// The key.
        key: Key,
        /// The revision that it must be at.
        expected: Revision,
    },
}

impl Write {
    /// The key that it writes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// Where a range starts and ends: keys that begin with `prefix`, after `after`.
#[derive(Debug, Clone)]
pub struct Range {
    /// What the keys begin with.
    pub prefix: Key,
    /// Only keys after this one.
    pub after: Option<Key>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
}

/// A part of a range as of one revision.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records in the order of keys.
    pub records: Vec<Arc<Record>>,
    /// The revision that they are as of.
    pub revision: Revision,
    /// How many keys of the range follow.
    pub remaining: usize,
}

/// Why the store did not do as told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// `Create` of a key that is there.
    #[error("{} exists at revision {}", .0.key, .0.revision)]
    Exists(Arc<Record>),
    /// The key is at another revision, or gone (`actual` is `None`).
    #[error("{key} is not at revision {expected}")]
    RevisionMismatch {
        /// The key.
        key: Key,
        /// The revision that the write expected.
        expected: Revision,
        /// What is there: try again from this.
        actual: Option<Arc<Record>>,
    },
    /// The revision was compacted away; `oldest` can still be read.
    #[error("revision {asked} has been compacted, the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// The revision is still to come.
    #[error("revision {asked} is not there yet, the newest is {newest}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest one.
        newest: Revision,
    },
    /// The disk is full or fails; nothing was written.
    #[error("cannot write the store: {0}")]
    Disk(String),
    /// The store's files are damaged; the text says where and what to do.
    #[error("{0}")]
    Damaged(String),
    /// Another process has the store open; the text names it.
    #[error("{0}")]
    Held(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The cluster's data. See the module for what every implementation keeps to.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The record of a key, as of now.
    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError>;

    /// A range as of `at`, or as of now. Where keys remain, the revision is
    /// kept for a while so that the others can be read, in spite of
    /// compaction by age or size.
    ///
    /// # Errors
    /// `Compacted` and `Future` for revisions that cannot be read.
    async fn range(&self, range: Range, at: Option<Revision>) -> Result<Page, StoreError>;

    /// Writes, and returns when it is as safe as the mode says. A deletion
    /// returns the record with the deletion's revision. Who stops waiting does
    /// not stop the write.
    ///
    /// # Errors
    /// `Exists`, `RevisionMismatch`: nothing was written, here is what stands
    /// there. `Disk`: nothing was written.
    async fn commit(&self, write: Write) -> Result<Arc<Record>, StoreError>;

    /// The newest revision that reads see.
    fn revision(&self) -> Revision;

    /// The oldest revision that can be read.
    fn oldest(&self) -> Revision;

    /// Forgets all states before `revision`, also those that open pages
    /// read. Nothing to forget is no error.
    ///
    /// # Errors
    /// `Future` for a revision that is still to come.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Writes what is pending, refuses all further writes and lets go of the
    /// files.
    async fn close(&self);

    /// Bytes that the store takes on disk, for metrics.
    fn size(&self) -> u64;
}
