//! The nodes on which there could be room, and which of them costs least.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;

use crate::pod::PodInfo;

/// A node, and who must go for the pod to fit there.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) node: String,
    /// The most important first; never empty.
    pub(super) victims: Vec<Arc<PodInfo>>,
    /// How many of them a budget guards.
    pub(super) violations: usize,
}

impl Candidate {
    fn highest(&self) -> i32 {
        self.victims.iter().map(|pod| pod.priority()).max().unwrap_or(i32::MIN)
    }

    /// Priorities are shifted above nothing: a few pods of negative priority
    /// cost more than fewer of the same.
    fn sum(&self) -> i64 {
        let shift = i64::from(i32::MAX) + 1;
        self.victims.iter().map(|pod| i64::from(pod.priority()) + shift).sum()
    }

    /// When the first of the most important victims was started.
    fn started(&self, now: Timestamp) -> Timestamp {
        let highest = self.highest();
        let foremost = self.victims.iter().filter(|pod| pod.priority() == highest);
        foremost.map(|pod| pod.started(now)).min().unwrap_or(now)
    }
}

/// The candidate that costs least: fewest guarded victims, then the least
/// important, fewest, and youngest ones; the first among equals.
pub(super) fn best(candidates: Vec<Candidate>, now: Timestamp) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let started = Reverse(candidate.started(now));
        (candidate.violations, candidate.highest(), candidate.sum(), candidate.victims.len(), started)
    })
}
