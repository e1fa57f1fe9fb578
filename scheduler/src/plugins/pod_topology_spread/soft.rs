//! Constraints that should hold.

use std::{collections::HashSet, sync::Arc};

use super::{
    super::tally::View,
    constraint::Constraint,
    domains::{Counting, Seen},
};
use crate::{cache::NodeInfo, plugin::BEST, pod::PodInfo};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// The raw score of a node that lacks a label.
const IGNORED: i64 = -1;

/// What a cycle knows of a pod's soft constraints.
pub(super) struct Soft {
    /// Nodes that lack a label are no good.
    all: bool,
    constraints: Vec<Weighed>,
}

struct Weighed {
    max_skew: i64,
    seen: Seen,
    /// Of constraints between hosts: the pods on each node.
    on: Option<Arc<Vec<u32>>>,
    /// The more domains, the more a pod in one of them counts.
    weight: f64,
}

impl Soft {
    pub(super) fn new(
        view: &mut View<'_>,
        constraints: &[Constraint],
        pod: &PodInfo,
        fitting: &[&NodeInfo],
        all: bool,
    ) -> Self {
        let seen = Counting::of(pod).see(view, constraints, pod, all);
        let labelled = |slot: &usize| !all || seen.iter().all(|seen| seen.domain(*slot).is_some());
        let compared: Vec<usize> = fitting.iter().map(|info| info.slot).filter(labelled).collect();
        let on = constraints.iter().map(|constraint| {
            let sort = constraint.sort.as_ref().filter(|_| constraint.key == HOSTNAME);
            let none = (constraint.key == HOSTNAME).then(Arc::default);
            sort.map(|sort| view.pods_on(sort)).or(none)
        });
        let on: Vec<_> = on.collect();
        let weigh = |((constraint, seen), on): ((&Constraint, Seen), Option<Arc<Vec<u32>>>)| {
            let domains = if on.is_some() {
                compared.len()
            } else {
                // Nodes without the label are a domain too.
                compared.iter().map(|slot| seen.domain(*slot)).collect::<HashSet<_>>().len()
            };
            Weighed { max_skew: constraint.max_skew, seen, on, weight: ((domains + 2) as f64).ln() }
        };
        let constraints = constraints.iter().zip(seen).zip(on).map(weigh).collect();
        Self { all, constraints }
    }

    pub(super) fn score(&self, info: &NodeInfo) -> i64 {
        let slot = info.slot;
        if self.all && self.constraints.iter().any(|constraint| constraint.seen.domain(slot).is_none()) {
            return IGNORED;
        }
        let mut score = 0.0;
        for constraint in &self.constraints {
            let Some(domain) = constraint.seen.domain(slot) else { continue };
            let count = match &constraint.on {
                Some(on) => i64::from(on.get(slot).copied().unwrap_or(0)),
                None => constraint.seen.count(domain),
            };
            score += count as f64 * constraint.weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }
}

/// The fewer, the better; nodes that lack a label are worst.
pub(super) fn normalize(scores: &mut [i64]) {
    let compared = scores.iter().copied().filter(|score| *score != IGNORED);
    let (least, most) = (compared.clone().min().unwrap_or(0), compared.max().unwrap_or(0));
    for score in scores {
        *score = match *score {
            IGNORED => 0,
            _ if most == 0 => BEST,
            score => BEST * (most + least - score) / most,
        };
    }
}
