//! The histories of all resources, fed by the store.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use coracle_store::{Event, Revision, Sink};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::history::Feed;

/// Sees the events of a resource as they are committed, before the write is
/// acknowledged. It must be quick and must not wait.
pub trait Tap: Send + Sync {
    /// An event.
    fn see(&self, event: &Arc<Event>);
}

/// One [`Feed`] a resource, by the prefix of its keys.
pub struct Hub {
    taps: RwLock<Vec<(String, Arc<dyn Tap>)>>,
    feeds: RwLock<BTreeMap<String, Arc<Feed>>>,
    revision: AtomicU64,
    limit: usize,
    closing: CancellationToken,
    // The same, for watchers: they ask often.
    closed: AtomicBool,
}

impl Hub {
    /// A hub with no feeds, which keep `limit` events each.
    pub fn new(limit: usize) -> Self {
        Self {
            feeds: RwLock::default(),
            taps: RwLock::default(),
            revision: AtomicU64::new(0),
            limit,
            closing: CancellationToken::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// The feed of a key prefix (with its closing slash), made when missing:
    /// it then starts with the next event.
    pub fn feed(&self, prefix: &str) -> Arc<Feed> {
        if let Some(feed) = self.feeds.read().get(prefix) {
            return feed.clone();
        }
        let mut feeds = self.feeds.write();
        let made = || Arc::new(Feed::new(self.limit, self.revision()));
        feeds.entry(prefix.to_owned()).or_insert_with(made).clone()
    }

    /// Lets `tap` see all events of a key prefix from now on.
    pub fn tap(&self, prefix: &str, tap: Arc<dyn Tap>) {
        self.taps.write().push((prefix.to_owned(), tap));
    }

    /// Forgets a key prefix that is no longer served, and ends its watches.
    pub fn drop_feed(&self, prefix: &str) {
        if let Some(feed) = self.feeds.write().remove(prefix) {
            feed.end_watches();
        }
    }

    /// The newest revision of which all events are in the feeds.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// Tells every feed that nothing before `oldest` is to be had.
    pub fn starts_at(&self, oldest: Revision, newest: Revision) {
        for feed in self.feeds.read().values() {
            feed.forget(oldest);
        }
        self.revision.fetch_max(newest.0, Ordering::AcqRel);
    }

    /// Ends all watches, and lets no new one wait.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.cancel();
        for feed in self.feeds.read().values() {
            feed.wake();
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Done when the hub closes.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }
}

impl Sink for Hub {
    fn publish(&self, events: &[Arc<Event>]) {
        let feeds = self.feeds.read();
        let mut touched: Vec<&Arc<Feed>> = Vec::new();
        let taps = self.taps.read();
        for event in events {
            for (_, tap) in taps.iter().filter(|(prefix, _)| event.key().starts_with(prefix.as_str())) {
                tap.see(event);
            }
            let below = (Bound::Unbounded, Bound::Included(&**event.key()));
            let found = feeds.range::<str, _>(below).next_back();
            let Some((_, feed)) = found.filter(|(prefix, _)| event.key().starts_with(prefix.as_str())) else {
                continue;
            };
            feed.append(event.clone());
            if !touched.iter().any(|it| Arc::ptr_eq(it, feed)) {
                touched.push(feed);
            }
        }
        // Publish the revision before waking: a bookmark may then name it.
        if let Some(last) = events.last() {
            self.revision.fetch_max(last.revision.0, Ordering::AcqRel);
        }
        for feed in touched {
            feed.wake();
        }
    }
}
