//! The states that open pages read: a client that asked for the first page of
//! a list gets the others as of the same revision, also when that was
//! compacted meanwhile.

use std::{collections::VecDeque, time::Duration};

use super::{
    Retention,
    index::{Index, Live},
};
use crate::Revision;

// A list is open for seconds; more lists than this at one time go back to the
// history.
const OPEN: usize = 16;

/// Snapshots by revision, the last used one at the end.
#[derive(Default)]
pub(crate) struct Pages(VecDeque<Snapshot>);

struct Snapshot {
    revision: Revision,
    live: Live,
    used: Duration,
    superseded: u64,
}

impl Pages {
    /// The state as of `revision`, if it is kept.
    pub(crate) fn get(&mut self, revision: Revision, now: Duration) -> Option<Live> {
        let position = self.0.iter().position(|snapshot| snapshot.revision == revision)?;
        let mut snapshot = self.0.remove(position)?;
        snapshot.used = now;
        let live = snapshot.live.clone();
        self.0.push_back(snapshot);
        Some(live)
    }

    /// Keeps the state as of `revision`. `superseded` is the index's at that
    /// revision.
    pub(crate) fn keep(&mut self, revision: Revision, live: Live, superseded: u64, now: Duration) {
        if self.0.iter().any(|snapshot| snapshot.revision == revision) {
            return;
        }
        if self.0.len() == OPEN {
            self.0.pop_front();
        }
        self.0.push_back(Snapshot { revision, live, used: now, superseded });
    }

    /// Lets go of those that nobody has read for long, or that have come to
    /// hold more than the history itself may.
    pub(crate) fn trim(&mut self, index: &Index, retention: &Retention, now: Duration) {
        self.0.retain(|snapshot| {
            now.saturating_sub(snapshot.used) < retention.age
                && index.superseded() - snapshot.superseded <= retention.bytes
        });
    }

    /// Lets go of those before `revision`.
    pub(crate) fn forget(&mut self, revision: Revision) {
        self.0.retain(|snapshot| snapshot.revision >= revision);
    }
}
