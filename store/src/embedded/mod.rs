//! The store in this process: a log on disk, or none, under an index in memory
//! from which all reads come.
//!
//! Start at [`Embedded::open`], then `committer.rs`. A write goes through the
//! queue to the keeper thread, which checks all that wait against the index
//! and each other, appends them to the log in one transaction, takes them into
//! the index, publishes their events and answers. Reads take the index's lock
//! only for as long as it takes to copy a pointer.

mod batch;
mod checkpoint;
mod committer;
mod damage;
mod directory;
mod disk;
mod index;
mod keeper;
mod load;
mod log;
mod options;
mod pages;
mod queue;
mod wal;

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::options::{Clock, Dropped, Found, Mode, Options, Retention, system_clock};
use self::{
    committer::Committer,
    disk::Opened,
    index::Index,
    load::Loaded,
    pages::Pages,
    queue::{Queue, Request},
};
use crate::{Page, Range, Record, Revision, Sink, Store, StoreError, Write};

/// The store in this process.
pub struct Embedded {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    log: Option<Arc<Path>>,
    found: Found,
}

struct Shared {
    index: RwLock<Index>,
    pages: Mutex<Pages>,
    committer: Mutex<Committer>,
    queue: Queue,
    sink: Arc<dyn Sink>,
    retention: Retention,
    clock: Clock,
    closed: CancellationToken,
}

impl Embedded {
    /// Opens a store, or makes one. The events that it still has go to the
    /// sink before it returns.
    ///
    /// Takes as long as reading the data does.
    /// # Errors
    /// `Held`, `Damaged`, and `Disk` if the directory cannot be written.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let started = Instant::now();
        let opened = match &options.mode {
            Mode::Memory => None,
            Mode::Durable(path) => Some(disk::open(path, false)?),
            Mode::Relaxed(path) => Some(disk::open(path, true)?),
        };
        let (loaded, log, files, dropped) = match opened {
            None => (Loaded::empty(), None, None, None),
            Some(Opened { loaded, log, files, dropped }) => (loaded, Some(log), Some(files), dropped),
        };
        let Loaded { index, expiries, dead, .. } = loaded;
        let events: Vec<_> = index.history().iter().cloned().collect();
        let newest = index.revision();
        let found = Found { keys: index.live().len(), events: events.len(), newest, dropped };
        if !events.is_empty() {
            options.sink.publish(&events);
        }
        drop(events);
        let opened = ((options.clock)(), newest);
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            pages: Mutex::default(),
            committer: Mutex::new(Committer::new(log, expiries, dead, opened)),
            queue: Queue::new(),
            sink: options.sink,
            retention: options.retention,
            clock: options.clock,
            closed: CancellationToken::new(),
        });
        let log = files.as_ref().map(|files| files.path.clone());
        let keeper = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 << 10)
            .spawn({
                let shared = shared.clone();
                move || keeper::keep(&shared, files)
            })
            .map_err(|error| StoreError::Disk(format!("no thread for the store: {error}")))?;
        tracing::info!(
            keys = found.keys,
            revision = newest.0,
            dropped = dropped.map_or(0, |dropped| dropped.bytes),
            took = ?started.elapsed(),
            "the store is open"
        );
        Ok(Self { shared, keeper: Mutex::new(Some(keeper)), log, found })
    }

    /// What was there when it was opened.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Has the store look at its clock: for a clock that jumps.
    pub fn tick(&self) {
        self.shared.queue.tick();
    }

    fn in_memory(&self) -> bool {
        self.log.is_none()
    }

    async fn ask<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(request(answer), bytes).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

// Whether the state that a page shows is kept for the pages that follow.
#[derive(PartialEq)]
enum Keep {
    Already,
    ForMore,
    Always,
}

#[async_trait::async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.shared.index.read().get(key).cloned())
    }

    async fn range(&self, range: Range, at: Option<Revision>) -> Result<Page, StoreError> {
        let shared = &*self.shared;
        let index = shared.index.read().clone();
        let now = (shared.clock)();
        let revision = at.unwrap_or(index.revision());
        if revision > index.revision() {
            return Err(StoreError::Future { asked: revision, newest: index.revision() });
        }
        let age = shared.retention.age;
        let kept =
            (revision < index.revision()).then(|| shared.pages.lock().get(revision, now, age)).flatten();
        let (live, keep) = match kept {
            Some(live) => (live, Keep::Already),
            None if revision == index.revision() => (index.live().clone(), Keep::ForMore),
            None if revision < index.oldest() => {
                return Err(StoreError::Compacted { asked: revision, oldest: index.oldest() });
            }
            None => (index.as_of(revision), Keep::Always),
        };
        let page = index::page(&live, &range, revision);
        if keep == Keep::Always || (keep == Keep::ForMore && page.remaining > 0) {
            // What was superseded since then counts, also when the page comes late.
            shared.pages.lock().keep(revision, live, index.superseded_at(revision), now);
        }
        Ok(page)
    }

    async fn commit(&self, write: Write) -> Result<Arc<Record>, StoreError> {
        if !self.in_memory() {
            return self.ask(size_of_write(&write), |answer| Request::Write(write, answer)).await;
        }
        if self.shared.queue.is_closed() {
            return Err(StoreError::Closed);
        }
        let expires =
            matches!(&write, Write::Create { ttl, .. } | Write::Update { ttl, .. } if ttl.is_some());
        let answer = self.shared.committer.lock().commit(&self.shared, std::slice::from_ref(&write)).pop();
        if expires {
            // The keeper may be asleep for longer than that.
            self.shared.queue.tick();
        }
        answer.unwrap_or(Err(StoreError::Closed))
    }

    fn revision(&self) -> Revision {
        self.shared.index.read().revision()
    }

    fn oldest(&self) -> Revision {
        self.shared.index.read().oldest()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        if self.in_memory() {
            return self.shared.committer.lock().compact(&self.shared, revision);
        }
        self.ask(0, |answer| Request::Compact(revision, answer)).await
    }

    async fn close(&self) {
        self.shared.queue.close();
        self.shared.closed.cancelled().await;
    }

    fn size(&self) -> u64 {
        let Some(log) = &self.log else { return 0 };
        let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
        size(log) + size(&directory::wal_of(log))
    }
}

fn size_of_write(write: &Write) -> usize {
    match write {
        Write::Create { value, .. } | Write::Update { value, .. } => value.bytes.len(),
        Write::Delete { .. } => 0,
    }
}

impl Drop for Embedded {
    /// Closes it, if nobody has yet.
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(keeper) = self.keeper.lock().take() {
            let _panicked = keeper.join();
        }
    }
}
