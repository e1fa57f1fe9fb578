//! How long a node's failed pods of a set wait before they are replaced.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::framework::Key;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The waits of all sets. Those of a set begin anew with its generation, and
/// those of a node when its pods have done well for twice the longest wait.
#[derive(Default)]
pub(super) struct Backoff {
    sets: Mutex<HashMap<Key, Waits>>,
}

#[derive(Default)]
struct Waits {
    generation: i64,
    nodes: HashMap<String, Wait>,
}

struct Wait {
    since: Timestamp,
    length: Duration,
}

impl Wait {
    fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.since)).unwrap_or_default()
    }
}

impl Backoff {
    /// The nodes of `set` that still wait, and how long.
    pub(super) fn waiting(&self, set: &Key, generation: i64, now: Timestamp) -> HashMap<String, Duration> {
        let mut sets = self.sets.lock();
        let Some(waits) = sets.get_mut(set) else { return HashMap::new() };
        if waits.generation != generation {
            sets.remove(set);
            return HashMap::new();
        }
        waits.nodes.retain(|_, wait| wait.age(now) <= LONGEST * 2);
        let left = |wait: &Wait| wait.length.checked_sub(wait.age(now)).filter(|left| !left.is_zero());
        waits.nodes.iter().filter_map(|(node, wait)| Some((node.clone(), left(wait)?))).collect()
    }

    /// A failed pod of `set` on `node` is replaced; the next one waits longer.
    pub(super) fn advance(&self, set: &Key, generation: i64, node: String, now: Timestamp) {
        let mut sets = self.sets.lock();
        let waits = sets.entry(set.clone()).or_default();
        if waits.generation != generation {
            *waits = Waits { generation, nodes: HashMap::new() };
        }
        let before = waits.nodes.get(&node).filter(|wait| wait.age(now) <= LONGEST * 2);
        let length = before.map_or(FIRST, |wait| (wait.length * 2).min(LONGEST));
        waits.nodes.insert(node, Wait { since: now, length });
    }

    /// Forgets `set`.
    pub(super) fn forget(&self, set: &Key) {
        self.sets.lock().remove(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let (backoff, set) = (Backoff::default(), Key::namespaced("a", "set"));
        let at = |second| Timestamp::from_second(second).unwrap();
        let left = |second| backoff.waiting(&set, 1, at(second)).get("node").map(Duration::as_secs);
        assert_eq!(left(100), None);
        backoff.advance(&set, 1, "node".into(), at(100));
        assert_eq!((left(100), left(101)), (Some(1), None));
        backoff.advance(&set, 1, "node".into(), at(101));
        assert_eq!((left(101), left(102), left(103)), (Some(2), Some(1), None));
        (0..20).for_each(|_| backoff.advance(&set, 1, "node".into(), at(103)));
        assert_eq!(left(103), Some(900));
        assert_eq!(left(103 + 1801), None);
        backoff.advance(&set, 1, "node".into(), at(5000));
        assert_eq!(left(5000), Some(1));
        assert!(backoff.waiting(&set, 2, at(5000)).is_empty(), "another generation begins anew");
    }
}
