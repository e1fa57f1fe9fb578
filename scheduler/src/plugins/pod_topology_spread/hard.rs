//! Constraints that must hold.

use std::sync::Arc;

use super::{
    super::tally::View,
    constraint::Constraint,
    domains::{Counting, Seen},
};
use crate::{cache::NodeInfo, plugin::Rejection, pod::PodInfo};

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// What a cycle knows of a pod's hard constraints.
#[derive(Clone)]
pub(super) struct Hard {
    counting: Arc<Counting>,
    constraints: Arc<Vec<Constraint>>,
    seen: Vec<Seen>,
    /// The lowest count of each constraint.
    lowest: Vec<i64>,
}

impl Hard {
    pub(super) fn new(view: &mut View<'_>, constraints: Vec<Constraint>, pod: &PodInfo) -> Self {
        let counting = Counting::of(pod);
        let seen = counting.see(view, &constraints, pod, true);
        let lowest = constraints.iter().zip(&seen).map(lowest).collect();
        let (counting, constraints) = (Arc::new(counting), Arc::new(constraints));
        Self { counting, constraints, seen, lowest }
    }

    pub(super) fn filter(&self, info: &NodeInfo) -> Result<(), Rejection> {
        let slot = info.slot;
        for ((constraint, seen), lowest) in self.constraints.iter().zip(&self.seen).zip(&self.lowest) {
            let Some(domain) = seen.domain(slot) else { return Err(Rejection::unresolvable(UNLABELLED)) };
            let there = if seen.nodes.get(domain).is_some_and(|n| *n > 0) { seen.count(domain) } else { 0 };
            if there + i64::from(constraint.own) - lowest > constraint.max_skew {
                return Err(Rejection::resolvable(UNEVEN));
            }
        }
        Ok(())
    }

    /// `other` comes to the node, or goes when `more` is -1: what if?
    pub(super) fn suppose(&mut self, pod: &PodInfo, other: &PodInfo, info: &NodeInfo, more: i64) {
        let slot = info.slot;
        if self.seen.iter().any(|seen| seen.domain(slot).is_none()) {
            return;
        }
        let constraints = self.constraints.clone();
        for ((constraint, seen), lowest) in constraints.iter().zip(&mut self.seen).zip(&mut self.lowest) {
            let counted = constraint.sort.as_ref().is_some_and(|sort| sort.holds_ever(other));
            if !counted || !self.counting.holds(constraint, pod, info) {
                continue;
            }
            if let Some(domain) = seen.domain(slot)
                && let Some(count) = Arc::make_mut(&mut seen.pods).get_mut(domain)
            {
                *count += more;
            }
            *lowest = self::lowest((constraint, seen));
        }
    }
}

/// The lowest count of a domain: nothing, when there are too few domains.
fn lowest((constraint, seen): (&Constraint, &Seen)) -> i64 {
    let mut domains = 0;
    let mut lowest = i64::MAX;
    for count in seen.counts() {
        domains += 1;
        lowest = lowest.min(count);
    }
    if domains < constraint.min_domains || domains == 0 { 0 } else { lowest }
}
