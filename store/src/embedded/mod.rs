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
mod index;
mod load;
mod log;
mod pages;
mod queue;
mod wal;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::{
    checkpoint::Checkpoints,
    committer::Committer,
    directory::Directory,
    index::Index,
    load::Loaded,
    log::Log,
    pages::Pages,
    queue::{Queue, Request},
    wal::Wal,
};
use crate::{Page, Range, Record, Revision, Sink, Store, StoreError, Write};

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

/// What is open on disk.
struct Disk {
    path: Arc<Path>,
    checkpoints: Arc<Checkpoints>,
    checkpointer: JoinHandle<()>,
    // Last, so that nobody else takes the files before they are let go.
    _directory: Directory,
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
        let (loaded, log, disk, dropped) = match &options.mode {
            Mode::Memory => (Loaded::empty(), None, None, None),
            Mode::Durable(path) => open_disk(path, false)?,
            Mode::Relaxed(path) => open_disk(path, true)?,
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
        let log = disk.as_ref().map(|disk| disk.path.clone());
        let keeper = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 << 10)
            .spawn({
                let shared = shared.clone();
                move || keep(&shared, disk)
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

fn open_disk(
    path: &Path,
    relaxed: bool,
) -> Result<(Loaded, Option<Log>, Option<Disk>, Option<Dropped>), StoreError> {
    let mut directory = Directory::take(path)?;
    directory.ensure_log()?;
    let path = directory.log();
    let dropped = drop_unfinished(&path, directory.was_relaxed())?;
    directory.sign(relaxed)?;
    let connection = log::connect(&path)?;
    log::identify(&connection, &path)?;
    connection
        .pragma_update(None, "synchronous", if relaxed { "NORMAL" } else { "FULL" })
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", 0))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", 64 << 20))
        .map_err(|error| damage::failed(&path, &error))?;
    let loaded = load::load(&connection, &path)?;
    let checkpoints = Arc::new(Checkpoints::default());
    let mut log = Log::new(connection, path.clone(), loaded.state, loaded.sum, checkpoints.clone());
    if loaded.accepted {
        log.remove(&[], loaded.state.compacted)?;
    }
    let checkpointer = checkpoints.clone().start(&path)?;
    let disk = Disk { path, checkpoints, checkpointer, _directory: directory };
    Ok((loaded, Some(log), Some(disk), dropped))
}

// Cuts off what a crash left at the end of the WAL, so that it is not met
// again behind what is written from now on.
fn drop_unfinished(log: &Path, relaxed: bool) -> Result<Option<Dropped>, StoreError> {
    let path = directory::wal_of(log);
    let refused = |error: std::io::Error| damage::refused(&path, &error);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let (len, dropped) = match wal::inspect(&bytes, relaxed) {
        Wal::Sound { len, dropped } => (len, dropped),
        Wal::Damaged { offset } => {
            return Err(damage::damaged(
                log,
                format!(
                    "its WAL {} is not what was written at byte {offset}, and acknowledged writes follow",
                    path.display()
                ),
            ));
        }
    };
    if len < bytes.len() as u64 {
        let file = std::fs::OpenOptions::new().write(true).open(&path).map_err(refused)?;
        file.set_len(len).and_then(|()| file.sync_all()).map_err(refused)?;
    }
    if dropped == 0 {
        return Ok(None);
    }
    tracing::warn!(wal = %path.display(), bytes = dropped, at = len, "dropped the end of a write that a crash cut off");
    Ok(Some(Dropped { bytes: dropped }))
}

// The keeper thread: all writes but those of memory mode, and all that is done
// at its time.
fn keep(shared: &Shared, disk: Option<Disk>) {
    // Also if this thread panics: then writers are told, not kept waiting.
    let _gone = Gone(shared);
    let mut wait = Duration::ZERO;
    loop {
        let work = shared.queue.next(wait);
        let mut committer = shared.committer.lock();
        let busy = !work.requests.is_empty();
        serve(shared, &mut committer, work.requests);
        wait = committer.tidy(shared, busy);
        if work.closed {
            break;
        }
    }
    if let Some(disk) = disk {
        disk.checkpoints.stop();
        let _panicked = disk.checkpointer.join();
        shared.committer.lock().close();
    }
}

struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.queue.abandon();
        self.0.closed.cancel();
    }
}

fn serve(shared: &Shared, committer: &mut Committer, requests: Vec<Request>) {
    let mut writes = Vec::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    let mut compactions = Vec::new();
    for request in requests {
        match request {
            Request::Write(write, answer) => {
                writes.push(write);
                waiting.push(answer);
            }
            Request::Compact(revision, answer) => compactions.push((revision, answer)),
        }
    }
    // Whoever has stopped waiting needs no answer.
    for (answer, result) in waiting.into_iter().zip(committer.commit(shared, &writes)) {
        let _gone = answer.send(result);
    }
    for (revision, answer) in compactions {
        let _gone = answer.send(committer.compact(shared, revision));
    }
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
        let kept = (revision < index.revision()).then(|| shared.pages.lock().get(revision, now)).flatten();
        let (live, keep) = match kept {
            Some(live) => (live, false),
            None if revision == index.revision() => (index.live().clone(), false),
            None if revision < index.oldest() => {
                return Err(StoreError::Compacted { asked: revision, oldest: index.oldest() });
            }
            None => (index.as_of(revision), true),
        };
        let page = index::page(&live, &range, revision);
        if keep || page.remaining > 0 {
            shared.pages.lock().keep(revision, live, index.superseded(), now);
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
