//! How many pods of a sort are on each node and in each domain.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    column::{ABSENT, Column},
    term::Term,
};
use crate::pod::PodInfo;

/// A sort of pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sort {
    /// All of which must mean the pod.
    pub(crate) terms: Vec<Term>,
    /// Pods that are being deleted do not count.
    pub(crate) living: bool,
}

impl Sort {
    /// True when `pod` counts as one of them.
    pub(crate) fn holds(&self, pod: &PodInfo) -> bool {
        !(self.living && pod.pod.metadata.deletion_timestamp.is_some()) && self.holds_ever(pod)
    }

    /// True when `pod` is one of them, also while it is being deleted.
    pub(crate) fn holds_ever(&self, pod: &PodInfo) -> bool {
        let meta = &pod.pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        self.terms.iter().all(|term| term.matches(namespace, None, meta.labels.as_ref()))
    }
}

/// The counts of one sort of pods.
#[derive(Debug, Default)]
pub(crate) struct Group {
    by_slot: Arc<Vec<u32>>,
    /// By label, then by domain.
    by_domain: HashMap<Arc<str>, Arc<Vec<i64>>>,
    /// When it was last asked for.
    pub(crate) used: u64,
}

impl Group {
    /// How many are on each node.
    pub(crate) fn by_slot(&self) -> &Arc<Vec<u32>> {
        &self.by_slot
    }

    /// How many are in each domain of `column`, that of the label `key`.
    pub(crate) fn by_domain(&mut self, key: &Arc<str>, column: &Column) -> Arc<Vec<i64>> {
        let counts = self.by_domain.entry(key.clone()).or_insert_with(|| {
            let mut counts = vec![0; column.len()];
            for (slot, count) in self.by_slot.iter().enumerate() {
                add(&mut counts, column.at(slot), i64::from(*count));
            }
            Arc::new(counts)
        });
        if counts.len() < column.len() {
            Arc::make_mut(counts).resize(column.len(), 0);
        }
        counts.clone()
    }

    /// `more` of them (fewer, when negative) are on `slot`.
    pub(crate) fn change(&mut self, slot: usize, more: i64, columns: &HashMap<Arc<str>, Column>) {
        let by_slot = Arc::make_mut(&mut self.by_slot);
        if by_slot.len() <= slot {
            by_slot.resize(slot + 1, 0);
        }
        if let Some(count) = by_slot.get_mut(slot) {
            *count = u32::try_from(i64::from(*count) + more).unwrap_or(0);
        }
        for (key, counts) in &mut self.by_domain {
            if let Some(column) = columns.get(key) {
                add(Arc::make_mut(counts), column.at(slot), more);
            }
        }
    }

    /// `slot` moved between domains of the label `key`.
    pub(crate) fn moved(&mut self, key: &str, slot: usize, (before, after): (u32, u32)) {
        let count = i64::from(self.by_slot.get(slot).copied().unwrap_or(0));
        if let Some(counts) = self.by_domain.get_mut(key).filter(|_| count != 0) {
            let counts = Arc::make_mut(counts);
            add(counts, before, -count);
            add(counts, after, count);
        }
    }

    /// Labels other than `keys` are not looked at any more.
    pub(crate) fn forget_but(&mut self, keys: &BTreeSet<Arc<str>>) {
        self.by_domain.retain(|key, _| keys.contains(key));
    }
}

/// Adds to a domain's count; nothing where there is no domain.
pub(crate) fn add(counts: &mut Vec<i64>, domain: u32, more: i64) {
    if domain == ABSENT {
        return;
    }
    let at = domain as usize;
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    if let Some(count) = counts.get_mut(at) {
        *count += more;
    }
}
