//! One watcher's place in a history.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use coracle_store::Revision;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    Hub,
    history::{Feed, Place, Told},
};

// Events taken in one go: enough to fill a frame, few enough to stay small.
const BATCH: usize = 128;

/// Reads a feed from a cursor on.
pub struct Subscriber {
    place: Place,
    hub: Arc<Hub>,
    cursor: Revision,
    // The kind has changed, and the watch ends when it has told what was up to here.
    until: Option<Revision>,
}

/// What a wait brought.
pub enum Next {
    /// Events after the cursor, which has moved past them.
    Events(SmallVec<[Arc<Told>; 2]>),
    /// Nothing until the deadline; the watcher has seen everything up to here.
    Quiet(Revision),
    /// The server is going away, or the kind is.
    Closed,
}

/// The watcher is behind what the history still has.
#[derive(Debug, thiserror::Error)]
#[error("too old resource version: {cursor} ({oldest})")]
pub struct Lagged {
    /// Where it was.
    pub cursor: Revision,
    /// The oldest place to start from.
    pub oldest: Revision,
}

impl Subscriber {
    /// A watcher of `feed` that has seen everything up to `cursor`.
    ///
    /// # Errors
    /// `Lagged` when the history starts later.
    pub fn new(hub: &Arc<Hub>, feed: &Arc<Feed>, cursor: Revision) -> Result<Self, Lagged> {
        let place = feed.enter();
        let oldest = feed.start();
        if cursor < oldest {
            return Err(Lagged { cursor, oldest });
        }
        Ok(Self { place, hub: hub.clone(), cursor, until: None })
    }

    /// The next events, waiting for them until `deadline`.
    ///
    /// # Errors
    /// `Lagged` when the watcher was too slow.
    pub async fn next(&mut self, deadline: Instant) -> Result<Next, Lagged> {
        let next = poll_fn(|cx| self.poll_next(cx));
        match tokio::time::timeout_at(deadline, next).await {
            Ok(next) => next,
            Err(_) => Ok(self.quiet()),
        }
    }

    /// The next events, or the end; never [`Next::Quiet`].
    ///
    /// # Errors
    /// `Lagged` when the watcher was too slow.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Next, Lagged>> {
        let found = self.look();
        if found.is_ready() {
            return found;
        }
        self.place.wait(cx.waker());
        // What came between the look and the wait woke nobody.
        self.look()
    }

    /// Nothing has come: what the watcher has seen by now.
    pub fn quiet(&mut self) -> Next {
        // Read before the events: all up to it are in the feed then.
        let seen = self.hub.revision();
        if self.place.feed().after(self.cursor, 1).is_some_and(|events| events.is_empty()) {
            self.cursor = self.cursor.max(seen);
        }
        Next::Quiet(self.cursor)
    }

    /// Whether others watch the same.
    pub fn is_shared(&self) -> bool {
        self.place.feed().is_shared()
    }

    fn look(&mut self) -> Poll<Result<Next, Lagged>> {
        if self.until.is_none() && self.place.ended() {
            self.until = Some(self.hub.revision());
        }
        let Some(events) = self.place.feed().after(self.cursor, BATCH) else {
            return Poll::Ready(Err(Lagged { cursor: self.cursor, oldest: self.place.feed().start() }));
        };
        // What happened before the end is told before it.
        if let Some(until) = self.until
            && events.first().is_none_or(|next| next.event.revision > until)
        {
            return Poll::Ready(Ok(Next::Closed));
        }
        match events.last() {
            Some(last) => self.cursor = last.event.revision,
            None if self.hub.is_closed() => return Poll::Ready(Ok(Next::Closed)),
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(Next::Events(events)))
    }
}
