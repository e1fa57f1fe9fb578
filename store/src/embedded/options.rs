//! How a store is opened, and what it says of what it found.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Revision, Sink};

/// The time since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Where a store keeps its data, and how safe an acknowledged write is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// In this directory; what is acknowledged is on disk.
    Durable(PathBuf),
    /// In this directory; what is acknowledged outlives the process, but the
    /// last of it not the machine.
    Relaxed(PathBuf),
    /// Nowhere: it ends with the process.
    Memory,
}

/// How much of the past can be read. What exceeds one of them is forgotten;
/// but lists that are being paged through can be read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how long.
    pub age: Duration,
    /// How many events.
    pub events: usize,
    /// How many bytes of versions that are not the newest.
    pub bytes: u64,
}

impl Default for Retention {
    /// The age is that of upstream's kube-apiserver.
    fn default() -> Self {
        Self { age: Duration::from_secs(300), events: 100_000, bytes: 64 << 20 }
    }
}

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Where and how it is kept.
    pub mode: Mode,
    /// Who gets the events.
    pub sink: Arc<dyn Sink>,
    /// How much of the past can be read.
    pub retention: Retention,
    /// The time by which keys expire and events age.
    pub clock: Clock,
}

impl Options {
    /// What is usual but for the mode and the sink.
    pub fn new(mode: Mode, sink: Arc<dyn Sink>) -> Self {
        Self { mode, sink, retention: Retention::default(), clock: system_clock() }
    }
}

/// What was there when a store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Keys.
    pub keys: usize,
    /// Events that were retained.
    pub events: usize,
    /// The newest revision.
    pub newest: Revision,
    /// What a crash had left unfinished.
    pub dropped: Option<Dropped>,
}

/// The end of a write that a crash cut off. It was never acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// How many bytes of it there were.
    pub bytes: u64,
}
