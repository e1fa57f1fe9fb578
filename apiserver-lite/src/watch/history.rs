//! The recent events of one resource.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use coracle_store::{Event, Revision};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

// Large objects must not make a history that takes more than this.
const MAX_BYTES: usize = 32 << 20;

/// The events under one key prefix, the newest of them kept.
pub struct Feed {
    log: RwLock<Log>,
    // Ends the watches that are open now.
    watches: RwLock<CancellationToken>,
    changed: watch::Sender<()>,
    received: AtomicU64,
    limit: usize,
}

struct Log {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    // A watch may start after this revision or a later one.
    start: Revision,
}

impl Feed {
    /// An empty history of at most `limit` events; what came up to `start` is
    /// not in it.
    pub fn new(limit: usize, start: Revision) -> Self {
        let log = Log { events: VecDeque::new(), bytes: 0, start };
        Self {
            log: RwLock::new(log),
            watches: RwLock::default(),
            changed: watch::Sender::new(()),
            received: AtomicU64::new(0),
            limit,
        }
    }

    /// Ends all watches that are open. Their clients list again, and see what
    /// the kind is by then.
    pub fn end_watches(&self) {
        std::mem::take(&mut *self.watches.write()).cancel();
    }

    /// Done when the watches that begin now are to end.
    pub fn ended(&self) -> CancellationToken {
        self.watches.read().clone()
    }

    /// Appends a committed event and forgets the oldest ones past the limit.
    /// Watchers hear of it with [`Feed::wake`].
    pub fn append(&self, event: Arc<Event>) {
        self.received.fetch_add(1, Relaxed);
        let mut log = self.log.write();
        log.bytes += event.record.bytes.len();
        log.events.push_back(event);
        while log.events.len() > self.limit || (log.bytes > MAX_BYTES && log.events.len() > 1) {
            if let Some(gone) = log.events.pop_front() {
                log.bytes -= gone.record.bytes.len();
                log.start = gone.revision;
            }
        }
    }

    /// How many events came so far.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Wakes all watchers.
    pub fn wake(&self) {
        self.changed.send_replace(());
    }

    /// Signals each time that something was appended.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// At most `max` events after `cursor`, or `None` when some of them are
    /// already forgotten.
    pub fn after(&self, cursor: Revision, max: usize) -> Option<Vec<Arc<Event>>> {
        let log = self.log.read();
        if cursor < log.start {
            return None;
        }
        let from = log.events.partition_point(|event| event.revision <= cursor);
        Some(log.events.range(from..).take(max).cloned().collect())
    }

    /// The oldest revision that a watch can start after.
    pub fn start(&self) -> Revision {
        self.log.read().start
    }

    /// Declares that events up to `revision` are not in the history.
    pub fn forget(&self, revision: Revision) {
        let mut log = self.log.write();
        while log.events.front().is_some_and(|event| event.revision <= revision) {
            if let Some(gone) = log.events.pop_front() {
                log.bytes -= gone.record.bytes.len();
            }
        }
        log.start = log.start.max(revision);
    }
}
