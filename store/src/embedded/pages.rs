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
    since: Duration,
    superseded: u64,
}

impl Pages {
    /// The state as of `revision`, if it is kept, for `age` at the longest: a
    /// client that comes back again and again does not keep it for ever.
    pub(crate) fn get(&mut self, revision: Revision, now: Duration, age: Duration) -> Option<Live> {
        let open =
            |snapshot: &Snapshot| snapshot.revision == revision && now.saturating_sub(snapshot.since) < age;
        let position = self.0.iter().position(open)?;
        let snapshot = self.0.remove(position)?;
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
        self.0.push_back(Snapshot { revision, live, since: now, superseded });
    }

    /// Lets go of those whose time is over, or that have come to hold more than
    /// the history itself may. One that the history still has stays: made anew
    /// it would begin anew.
    pub(crate) fn trim(&mut self, index: &Index, retention: &Retention, now: Duration) {
        self.0.retain(|snapshot| {
            let open = now.saturating_sub(snapshot.since) < retention.age;
            (open || snapshot.revision >= index.oldest())
                && index.superseded() - snapshot.superseded <= retention.bytes
        });
    }

    /// Lets go of those before `revision`.
    pub(crate) fn forget(&mut self, revision: Revision) {
        self.0.retain(|snapshot| snapshot.revision >= revision);
    }
}
