//! The recent events of one resource.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use coracle_api::GroupVersionKind;
use coracle_store::{Event, Revision};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

// Large objects must not make a history that takes more than this.
const MAX_BYTES: usize = 32 << 20;
// So many of the newest events keep the frames that were made of them: watchers that keep up share them, and
// those that do not make their own.
const FRAMED: usize = 64;
// Frames larger than this are not kept.
const FRAME: usize = 64 << 10;

/// The events under one key prefix, the newest of them kept.
pub struct Feed {
    log: RwLock<Log>,
    waiting: Mutex<Waiting>,
    watchers: AtomicUsize,
    // Raised to end the watches that are open.
    life: AtomicU64,
    received: AtomicU64,
    limit: usize,
}

struct Log {
    events: VecDeque<Arc<Told>>,
    bytes: usize,
    // A watch may start after this revision or a later one.
    start: Revision,
}

/// An event, and the frames in which watchers see it.
pub struct Told {
    /// The event.
    pub event: Arc<Event>,
    // None once it is no longer among the newest: a history is long.
    frames: Mutex<Option<Vec<(Framing, Bytes)>>>,
}

/// What a frame of an event depends on: watchers alike in this see the same bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Framing {
    /// `ADDED`, `MODIFIED`, `DELETED`
    pub sign: &'static str,
    /// Whether it is in protobuf; else in JSON.
    pub protobuf: bool,
    /// The kind that the object is shown as.
    pub kind: GroupVersionKind,
    /// The definition of that kind.
    pub stamp: u64,
}

impl Told {
    fn new(event: Arc<Event>) -> Self {
        Self { event, frames: Mutex::new(Some(Vec::new())) }
    }

    /// The frame of the event in this framing, made at the first call. It is kept only if it is `shared`, and
    /// the event among the newest.
    pub fn frame(&self, framing: Framing, shared: bool, make: impl FnOnce() -> Bytes) -> Bytes {
        if !shared {
            return make();
        }
        let mut kept = self.frames.lock();
        let Some(frames) = kept.as_mut() else {
            drop(kept);
            return make();
        };
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == framing) {
            return frame.clone();
        }
        // Made under the lock: many watchers want it at the same time, and one of them is to make it.
        let frame = make();
        if frame.len() <= FRAME {
            frames.push((framing, frame.clone()));
        }
        frame
    }
}

// Who waits for the next event, by the number of the place that each has.
#[derive(Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A watcher's place in a feed: where it is found when something happens.
pub struct Place {
    feed: Arc<Feed>,
    number: usize,
    life: u64,
}

impl Feed {
    /// An empty history of at most `limit` events; what came up to `start` is
    /// not in it.
    pub fn new(limit: usize, start: Revision) -> Self {
        let log = Log { events: VecDeque::new(), bytes: 0, start };
        Self {
            log: RwLock::new(log),
            waiting: Mutex::default(),
            watchers: AtomicUsize::new(0),
            life: AtomicU64::new(0),
            received: AtomicU64::new(0),
            limit,
        }
    }

    /// Ends all watches that are open. Their clients list again, and see what
    /// the kind is by then.
    pub fn end_watches(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Appends a committed event and forgets the oldest ones past the limit.
    /// Watchers hear of it with [`Feed::wake`].
    pub fn append(&self, event: Arc<Event>) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let mut log = self.log.write();
        log.bytes += event.record.bytes.len();
        log.events.push_back(Arc::new(Told::new(event)));
        if let Some(behind) = log.events.len().checked_sub(FRAMED + 1).and_then(|at| log.events.get(at)) {
            *behind.frames.lock() = None;
        }
        while log.events.len() > self.limit || (log.bytes > MAX_BYTES && log.events.len() > 1) {
            if let Some(gone) = log.events.pop_front() {
                log.bytes -= gone.event.record.bytes.len();
                log.start = gone.event.revision;
            }
        }
    }

    /// How many events came so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Wakes all watchers.
    pub fn wake(&self) {
        let woken: Vec<Waker> = self.waiting.lock().places.iter_mut().filter_map(Option::take).collect();
        // Not under the lock: who is woken may wait again at once.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Takes a place among the watchers.
    pub fn enter(self: &Arc<Self>) -> Place {
        let mut waiting = self.waiting.lock();
        let number = waiting.free.pop().unwrap_or_else(|| {
            waiting.places.push(None);
            waiting.places.len() - 1
        });
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Place { feed: self.clone(), number, life: self.life.load(Ordering::Acquire) }
    }

    /// At most `max` events after `cursor`, or `None` when some of them are
    /// already forgotten.
    pub fn after(&self, cursor: Revision, max: usize) -> Option<SmallVec<[Arc<Told>; 2]>> {
        let log = self.log.read();
        if cursor < log.start {
            return None;
        }
        // Most have seen all but the last.
        if log.events.back().is_none_or(|last| last.event.revision <= cursor) {
            return Some(SmallVec::new());
        }
        let from = log.events.partition_point(|told| told.event.revision <= cursor);
        Some(log.events.range(from..).take(max).cloned().collect())
    }

    /// Whether several watch, so that what one makes others want too.
    pub fn is_shared(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 1
    }

    /// The oldest revision that a watch can start after.
    pub fn start(&self) -> Revision {
        self.log.read().start
    }

    /// Declares that events up to `revision` are not in the history.
    pub fn forget(&self, revision: Revision) {
        let mut log = self.log.write();
        while log.events.front().is_some_and(|told| told.event.revision <= revision) {
            if let Some(gone) = log.events.pop_front() {
                log.bytes -= gone.event.record.bytes.len();
            }
        }
        log.start = log.start.max(revision);
    }
}

impl Place {
    /// The feed.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Has `waker` woken when something happens. Look for events again after this: what came before is not
    /// told.
    pub fn wait(&self, waker: &Waker) {
        if let Some(place) = self.feed.waiting.lock().places.get_mut(self.number)
            && !place.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *place = Some(waker.clone());
        }
    }

    /// Whether the watches that began when this one did are to end.
    pub fn ended(&self) -> bool {
        self.feed.life.load(Ordering::Acquire) != self.life
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.feed.watchers.fetch_sub(1, Ordering::AcqRel);
        let mut waiting = self.feed.waiting.lock();
        if let Some(place) = waiting.places.get_mut(self.number) {
            *place = None;
        }
        waiting.free.push(self.number);
        // Nobody is left: nor is what a crowd took.
        if waiting.free.len() == waiting.places.len() {
            *waiting = Waiting::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::facts::RESOURCES;
    use coracle_store::{Record, Value};

    use super::*;

    fn event(revision: u64) -> Arc<Event> {
        let value = Value { bytes: Bytes::from_static(b"{}"), hole: None };
        let revision = Revision(revision);
        let record = Arc::new(Record::new("/registry/pods/a/b".into(), revision, revision, &value));
        Arc::new(Event { revision, previous: None, record, deleted: false })
    }

    fn framing(sign: &'static str) -> Framing {
        let pods = RESOURCES.iter().find(|it| it.plural == "pods").expect("pods");
        Framing { sign, protobuf: false, kind: pods.gvk.clone(), stamp: 0 }
    }

    #[test]
    fn watchers_alike_share_a_frame() {
        let feed = Feed::new(1000, Revision(1));
        feed.append(event(2));
        let told = feed.after(Revision(1), 1).expect("events").pop().expect("one");
        let mut made = 0;
        let mut frame = |sign, shared| {
            told.frame(framing(sign), shared, || {
                made += 1;
                Bytes::from_static(b"frame")
            })
        };
        frame("ADDED", true);
        frame("ADDED", true);
        frame("MODIFIED", true);
        frame("ADDED", false);
        assert_eq!(made, 3);
        for revision in 3..3 + FRAMED as u64 {
            feed.append(event(revision));
        }
        told.frame(framing("ADDED"), true, || Bytes::from_static(b"frame"));
        assert!(told.frames.lock().is_none(), "what is behind keeps no frames");
    }

    #[test]
    fn places_are_used_again() {
        let feed = Arc::new(Feed::new(10, Revision(1)));
        let (first, second) = (feed.enter(), feed.enter());
        assert!(feed.is_shared() && second.number == 1);
        drop(first);
        let third = feed.enter();
        assert_eq!(third.number, 0);
        feed.end_watches();
        assert!(third.ended() && !feed.enter().ended());
    }
}
