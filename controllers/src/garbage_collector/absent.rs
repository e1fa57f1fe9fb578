//! Owners that are certainly gone. A uid never comes back, so what is gone
//! stays so; it need not be asked for again, nor can it be once its kind is no
//! longer served.

use std::collections::{HashSet, VecDeque};

/// How many are remembered; the first go first (upstream: 500).
const REMEMBERED: usize = 4096;

/// An owner: group, kind, namespace (empty for none), name, uid.
pub(super) type OwnerKey = [String; 5];

#[derive(Default)]
pub(super) struct Absent {
    keys: HashSet<OwnerKey>,
    order: VecDeque<OwnerKey>,
}

impl Absent {
    pub(super) fn add(&mut self, key: OwnerKey) {
        if !self.keys.insert(key.clone()) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(first) = self.order.pop_front()
        {
            self.keys.remove(&first);
        }
    }

    pub(super) fn contains(&self, key: &OwnerKey) -> bool {
        self.keys.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten_first() {
        let key = |n: usize| ["", "Thing", "a", "x", &n.to_string()].map(str::to_owned);
        let mut absent = Absent::default();
        (0..=REMEMBERED).for_each(|n| absent.add(key(n)));
        absent.add(key(5));
        assert!(!absent.contains(&key(0)) && absent.contains(&key(1)) && absent.contains(&key(REMEMBERED)));
    }
}
