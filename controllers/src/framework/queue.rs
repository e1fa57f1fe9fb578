//! The work queue: keys, each at most once, with delays and back-off.
//!
//! Bounded by construction: a key waits once however often it is added, so
//! the queue never holds more keys than there are objects.
//! Invariant: a key is never handed out while it is being worked on; added
//! meanwhile, it comes again afterwards.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// First delay after a failure, doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// Longest delay between tries.
const BACKOFF_LONGEST: Duration = Duration::from_secs(1000);

/// A deduplicating queue with delays. Clones share it.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Waiting, or added again while being worked on.
    dirty: HashSet<K>,
    working: HashSet<K>,
    due: HashMap<K, (Instant, u64)>,
    by_due: BTreeMap<(Instant, u64), K>,
    sequence: u64,
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            due: HashMap::new(),
            by_due: BTreeMap::new(),
            sequence: 0,
            failures: HashMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Asks for `key` to be looked at as soon as possible.
    pub fn add(&self, key: K) {
        let mut state = self.shared.state.lock();
        state.add(key);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Asks for each of `keys` to be looked at as soon as possible.
    pub fn extend(&self, keys: impl IntoIterator<Item = K>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// Asks for `key` to be looked at after `delay`; the earliest ask wins.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared.state.lock().add_at(key, Instant::now() + delay);
        self.shared.changed.notify_one();
    }

    /// Asks for `key` after its back-off: 5 ms, doubled with each call until
    /// [`Queue::forget`], at most 1,000 s.
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            *failures
        };
        self.add_after(key, backoff(failures));
    }

    /// How often `key` has failed since it last succeeded.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Ends `key`'s back-off.
    pub fn forget(&self, key: &K) {
        self.shared.state.lock().failures.remove(key);
    }

    /// The next key, when there is one; waits until then. Cancel-safe.
    /// [`Queue::done`] must follow.
    pub async fn next(&self) -> K {
        loop {
            let (key, next_due) = {
                let mut state = self.shared.state.lock();
                state.release_due(Instant::now());
                (state.take(), state.next_due())
            };
            if let Some(key) = key {
                return key;
            }
            let changed = self.shared.changed.notified();
            match next_due {
                None => changed.await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
            }
        }
    }

    /// Ends the work on `key`; it comes again if it was added meanwhile.
    pub fn done(&self, key: &K) {
        let mut state = self.shared.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return;
        }
        self.ready.push_back(key);
    }

    fn add_at(&mut self, key: K, due: Instant) {
        if let Some(&earlier) = self.due.get(&key) {
            if earlier.0 <= due {
                return;
            }
            self.by_due.remove(&earlier);
        }
        self.sequence += 1;
        self.due.insert(key.clone(), (due, self.sequence));
        self.by_due.insert((due, self.sequence), key);
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(first) = self.by_due.first_entry() {
            if first.key().0 > now {
                return;
            }
            let key = first.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

/// The delay before the try that follows `failures` failures.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    (BACKOFF_FIRST * 2u32.pow(doublings)).min(BACKOFF_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let table = [(1, 5), (2, 10), (3, 20), (8, 640), (18, 655_360), (19, 1_000_000), (500, 1_000_000)];
        for (failures, millis) in table {
            assert_eq!(backoff(failures), Duration::from_millis(millis), "after {failures} failures");
        }
    }

    async fn ready(queue: &Queue<&'static str>) -> Vec<&'static str> {
        let mut keys = Vec::new();
        while let Ok(key) = tokio::time::timeout(Duration::from_millis(0), queue.next()).await {
            keys.push(key);
        }
        keys
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_never_runs_twice_at_a_time() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(ready(&queue).await, ["a", "b"]);
        queue.add("a");
        queue.add("a");
        assert_eq!(ready(&queue).await, [""; 0], "a is still being worked on");
        queue.done(&"a");
        assert_eq!(ready(&queue).await, ["a"]);
        queue.done(&"a");
        assert_eq!(ready(&queue).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_pass_in_order_and_the_earliest_ask_wins() {
        let queue = Queue::new();
        queue.add_after("late", Duration::from_secs(9));
        queue.add_after("soon", Duration::from_secs(1));
        queue.add_after("moved", Duration::from_secs(60));
        queue.add_after("moved", Duration::from_secs(2));
        queue.add_after("moved", Duration::from_secs(30));
        let start = Instant::now();
        for (key, second) in [("soon", 1), ("moved", 2), ("late", 9)] {
            assert_eq!(queue.next().await, key);
            assert_eq!(start.elapsed().as_secs(), second, "{key}");
            queue.done(&key);
        }
        assert_eq!(ready(&queue).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn success_ends_the_backoff() {
        let queue = Queue::new();
        for _ in 0..3 {
            queue.add_rate_limited("a");
        }
        assert_eq!(queue.failures(&"a"), 3);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }
}
