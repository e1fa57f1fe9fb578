//! The value of one label on every node, as numbers.

use std::{collections::HashMap, sync::Arc};

/// No such label.
pub(crate) const ABSENT: u32 = u32::MAX;

/// The domain of each node: its value of one label.
#[derive(Debug, Default)]
pub(crate) struct Column {
    /// By the node's slot.
    of: Arc<Vec<u32>>,
    ids: HashMap<Arc<str>, u32>,
    values: Vec<Arc<str>>,
    /// How many nodes have the value.
    nodes: Arc<Vec<u32>>,
    /// Numbers that no node has any more.
    free: Vec<u32>,
}

impl Column {
    /// The domain of each slot.
    pub(crate) fn domains(&self) -> &Arc<Vec<u32>> {
        &self.of
    }

    /// How many nodes are in each domain; zero where the number is not in use.
    pub(crate) fn nodes(&self) -> &Arc<Vec<u32>> {
        &self.nodes
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The domain of `slot`.
    pub(crate) fn at(&self, slot: usize) -> u32 {
        self.of.get(slot).copied().unwrap_or(ABSENT)
    }

    /// Puts `slot` into the domain of `value`; the domains before and after.
    pub(crate) fn set(&mut self, slot: usize, value: Option<&str>) -> (u32, u32) {
        let before = self.at(slot);
        let after = value.map_or(ABSENT, |value| self.number(value));
        let of = Arc::make_mut(&mut self.of);
        if of.len() <= slot {
            of.resize(slot + 1, ABSENT);
        }
        if let Some(place) = of.get_mut(slot) {
            *place = after;
        }
        if before != after {
            let nodes = Arc::make_mut(&mut self.nodes);
            if let Some(count) = nodes.get_mut(after as usize) {
                *count += 1;
            }
            if let Some(count) = nodes.get_mut(before as usize) {
                *count -= 1;
                if *count == 0 {
                    self.values.get(before as usize).map(|value| self.ids.remove(value));
                    self.free.push(before);
                }
            }
        }
        (before, after)
    }

    fn number(&mut self, value: &str) -> u32 {
        if let Some(number) = self.ids.get(value) {
            return *number;
        }
        let value: Arc<str> = value.into();
        let number = self.free.pop().unwrap_or_else(|| {
            Arc::make_mut(&mut self.nodes).push(0);
            self.values.push(value.clone());
            u32::try_from(self.values.len() - 1).unwrap_or(ABSENT)
        });
        if let Some(place) = self.values.get_mut(number as usize) {
            *place = value.clone();
        }
        self.ids.insert(value, number);
        number
    }
}
