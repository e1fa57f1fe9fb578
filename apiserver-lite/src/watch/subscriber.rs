//! One watcher's place in a history.

use std::{sync::Arc, time::Duration};

use coracle_store::{Event, Revision};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Hub, history::Feed};

// Events taken in one go: enough to fill a frame, few enough to stay small.
const BATCH: usize = 128;

/// Reads a feed from a cursor on.
pub struct Subscriber {
    feed: Arc<Feed>,
    hub: Arc<Hub>,
    changes: watch::Receiver<()>,
    closing: CancellationToken,
    ended: CancellationToken,
    cursor: Revision,
    // The kind has changed, and the watch ends when it has told what was up to here.
    until: Option<Revision>,
}

/// What a wait brought.
pub enum Next {
    /// Events after the cursor, which has moved past them.
    Events(Vec<Arc<Event>>),
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
    pub fn new(hub: &Arc<Hub>, feed: Arc<Feed>, cursor: Revision) -> Result<Self, Lagged> {
        let changes = feed.changes();
        let oldest = feed.start();
        if cursor < oldest {
            return Err(Lagged { cursor, oldest });
        }
        Ok(Self {
            changes,
            closing: hub.closing(),
            ended: feed.ended(),
            hub: hub.clone(),
            feed,
            cursor,
            until: None,
        })
    }

    /// The next events, waiting for them until `deadline`.
    ///
    /// # Errors
    /// `Lagged` when the watcher was too slow.
    pub async fn next(&mut self, deadline: Instant) -> Result<Next, Lagged> {
        loop {
            // Read before the events: all up to it are in the feed then.
            let seen = self.hub.revision();
            self.changes.mark_unchanged();
            let Some(events) = self.feed.after(self.cursor, BATCH) else {
                return Err(Lagged { cursor: self.cursor, oldest: self.feed.start() });
            };
            // What happened before the end is told before it.
            if let Some(until) = self.until
                && events.first().is_none_or(|next| next.revision > until)
            {
                return Ok(Next::Closed);
            }
            if let Some(last) = events.last() {
                self.cursor = last.revision;
                return Ok(Next::Events(events));
            }
            let wait = tokio::time::timeout_at(deadline, self.changes.changed());
            tokio::select! {
                () = self.closing.cancelled() => return Ok(Next::Closed),
                () = self.ended.cancelled() => self.until = Some(self.hub.revision()),
                woken = wait => if !matches!(woken, Ok(Ok(()))) {
                    self.cursor = self.cursor.max(seen);
                    return Ok(Next::Quiet(self.cursor));
                },
            }
        }
    }

    /// A deadline after `wait`.
    pub fn deadline(wait: Duration) -> Instant {
        Instant::now() + wait
    }
}
