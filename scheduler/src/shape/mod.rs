//! What pods of one shape share: what the rules that read nodes alone said of
//! each node for one of them holds for all, until the node changes.
//!
//! Start at [`Shapes::take`].
//! Invariant: nothing here decides. A cycle without it comes to the same.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::Rejection,
    pod::PodInfo,
};

/// So many shapes are remembered.
const SHAPES: usize = 32;
/// So many different rejections for one shape.
const REJECTIONS: usize = 128;

/// Of a pod, what rules that [read nodes alone](crate::plugin::Reads::Node)
/// look at: node selector and affinity, tolerations, amounts, ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape(Arc<str>);

impl Shape {
    /// The shape of `pod`.
    pub(crate) fn of(pod: &PodInfo) -> Self {
        let spec = pod.spec();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        let selector = spec.and_then(|spec| spec.node_selector.as_ref());
        let tolerations = spec.and_then(|spec| spec.tolerations.as_ref());
        let amounts = (&pod.requests, &pod.wanting);
        let all = serde_json::to_string(&(selector, affinity, tolerations, amounts, &pod.ports));
        // Trees of text and numbers can always be written.
        Self(all.unwrap_or_default().into())
    }
}

/// The shapes of pods that were placed last. Cheap when new.
#[derive(Default)]
pub struct Shapes(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// The cache whose nodes these are.
    source: Arc<()>,
    said: HashMap<Shape, (u64, Said)>,
    now: u64,
}

impl Shapes {
    /// What is known of the nodes of `snapshot` for pods of this shape. Given
    /// back with [`Shapes::keep`], it is known next time, too.
    pub(crate) fn take(&self, shape: &Shape, snapshot: &Snapshot) -> Said {
        let mut remembered = self.0.lock();
        if !Arc::ptr_eq(&remembered.source, &snapshot.source) {
            remembered.source = snapshot.source.clone();
            remembered.said.clear();
        }
        remembered.said.remove(shape).map(|(_, said)| said).unwrap_or_default()
    }

    /// Remembers what was learned since [`Shapes::take`].
    pub(crate) fn keep(&self, shape: &Shape, said: Said) {
        let mut remembered = self.0.lock();
        if remembered.said.len() >= SHAPES {
            let oldest = remembered.said.iter().min_by_key(|(_, (used, _))| *used);
            let oldest = oldest.map(|(shape, _)| shape.clone());
            oldest.map(|oldest| remembered.said.remove(&oldest));
        }
        remembered.now += 1;
        let now = remembered.now;
        remembered.said.insert(shape.clone(), (now, said));
    }
}

/// A rule, by its place among the profile's, and why it rejects a node.
pub(crate) type Refusal = (usize, Arc<Rejection>);

/// What was said of each node for the pods of one shape.
#[derive(Default)]
pub(crate) struct Said {
    /// By slot.
    verdicts: Vec<Verdict>,
    /// Each once: many nodes are rejected for the same reason.
    refusals: Vec<Refusal>,
    /// By slot: for which state of the node its scores are.
    scored: Vec<u64>,
    /// By slot, then by rule.
    scores: Vec<i64>,
    /// How many rules score.
    rules: usize,
}

#[derive(Clone, Copy, Default)]
struct Verdict {
    /// The state of the node; no node's is zero.
    generation: u64,
    /// Which refusal, counted from one; zero for none.
    refusal: u32,
}

impl Said {
    /// The first refusal of `info` by rules that read it alone, as `judge` finds it.
    pub(crate) fn refusal(
        &mut self,
        info: &NodeInfo,
        judge: impl FnOnce() -> Option<(usize, Rejection)>,
    ) -> Option<Refusal> {
        let Some(generation) = info.generation else {
            return judge().map(|(rule, rejection)| (rule, Arc::new(rejection)));
        };
        match self.verdicts.get(info.slot) {
            Some(known) if known.generation == generation => match known.refusal {
                0 => None,
                number => self.refusals.get(number as usize - 1).cloned(),
            },
            _ => {
                let refusal = judge();
                let number = refusal.map_or(0, |refusal| self.number(refusal));
                grow(&mut self.verdicts, info.slot + 1);
                if let Some(place) = self.verdicts.get_mut(info.slot) {
                    *place = Verdict { generation, refusal: number };
                }
                self.refusals.get((number as usize).checked_sub(1)?).cloned()
            }
        }
    }

    fn number(&mut self, (rule, rejection): (usize, Rejection)) -> u32 {
        let same = |(other, known): &Refusal| *other == rule && **known == rejection;
        let at = self.refusals.iter().position(same).unwrap_or_else(|| {
            if self.refusals.len() >= REJECTIONS {
                self.refusals.clear();
                self.verdicts.clear();
            }
            self.refusals.push((rule, Arc::new(rejection)));
            self.refusals.len() - 1
        });
        u32::try_from(at + 1).unwrap_or(0)
    }

    /// Adds to `row` what each of so many rules that read the node alone
    /// gives `info`, as `score` finds it.
    pub(crate) fn scores(
        &mut self,
        info: &NodeInfo,
        rules: usize,
        row: &mut Vec<i64>,
        score: impl Fn(usize) -> i64,
    ) {
        let Some(generation) = info.generation else { return row.extend((0..rules).map(score)) };
        if self.rules != rules {
            self.rules = rules;
            self.scored.clear();
            self.scores.clear();
        }
        let place = info.slot * rules..(info.slot + 1) * rules;
        if self.scored.get(info.slot) != Some(&generation) {
            grow(&mut self.scored, info.slot + 1);
            grow(&mut self.scores, place.end);
            if let Some(scored) = self.scored.get_mut(info.slot) {
                *scored = generation;
            }
            for (rule, known) in self.scores.iter_mut().skip(place.start).take(rules).enumerate() {
                *known = score(rule);
            }
        }
        row.extend(self.scores.get(place).unwrap_or_default());
    }
}

fn grow<T: Default + Clone>(list: &mut Vec<T>, len: usize) {
    if list.len() < len {
        list.resize(len, T::default());
    }
}
