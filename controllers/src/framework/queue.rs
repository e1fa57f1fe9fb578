//! The work queue: keys, each at most once, with delays and back-off.
//!
//! Bounded by construction: a key waits once however often it is added, so
//! the queue never holds more keys than there are objects.
//! Invariant: a key is never handed out while it is being worked on; added
//! meanwhile, it comes again afterwards.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, OnceLock},
    time::Duration,
};

use coracle_api::metrics::{Gathered, Registry, Sample};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::measures::{self, Measures};

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
    measures: OnceLock<Measures>,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Waiting, or added again while being worked on; since when.
    dirty: HashMap<K, Instant>,
    /// Since when.
    working: HashMap<K, Instant>,
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
            dirty: HashMap::new(),
            working: HashMap::new(),
            due: HashMap::new(),
            by_due: BTreeMap::new(),
            sequence: 0,
            failures: HashMap::new(),
        };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Self { shared: Arc::new(Shared { state, changed, measures: OnceLock::new() }) }
    }

    /// Asks for `key` to be looked at as soon as possible.
    pub fn add(&self, key: K) {
        let added = self.shared.state.lock().add(key);
        if added && let Some(measures) = self.shared.measures.get() {
            measures.added();
        }
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
        if let Some(measures) = self.shared.measures.get() {
            measures.retried();
        }
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
            let (taken, next_due) = {
                let mut state = self.shared.state.lock();
                let now = Instant::now();
                let released = state.release_due(now);
                if let Some(measures) = self.shared.measures.get() {
                    (0..released).for_each(|_| measures.added());
                }
                (state.take(now), state.next_due())
            };
            if let Some((key, waited)) = taken {
                if let Some(measures) = self.shared.measures.get() {
                    measures.taken(waited);
                }
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
        let began = state.working.remove(key);
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
        }
        drop(state);
        if let (Some(began), Some(measures)) = (began, self.shared.measures.get()) {
            measures.done(began.elapsed());
        }
        self.shared.changed.notify_one();
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    // Whether it was not waiting before.
    fn add(&mut self, key: K) -> bool {
        if self.dirty.contains_key(&key) {
            return false;
        }
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains_key(&key) {
            self.ready.push_back(key);
        }
        true
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

    // How many were added.
    fn release_due(&mut self, now: Instant) -> usize {
        let mut released = 0;
        while let Some(first) = self.by_due.first_entry() {
            if first.key().0 > now {
                break;
            }
            let key = first.remove();
            self.due.remove(&key);
            released += usize::from(self.add(key));
        }
        released
    }

    fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    // With how long it has waited.
    fn take(&mut self, now: Instant) -> Option<(K, Duration)> {
        let key = self.ready.pop_front()?;
        let since = self.dirty.remove(&key).unwrap_or(now);
        self.working.insert(key.clone(), now);
        Some((key, now.saturating_duration_since(since)))
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Queue<K> {
    /// Measures the queue of `controller` from now on.
    pub(super) fn measure(&self, registry: &Registry, controller: &'static str) {
        let name = measures::queue_name(controller);
        let _ = self.shared.measures.set(Measures::new(registry, name));
        let shared = self.shared.clone();
        registry.add(Arc::new(move |out: &mut Vec<Gathered>| {
            let state = shared.state.lock();
            let now = Instant::now();
            let running = state.working.values().map(|began| now.saturating_duration_since(*began));
            let unfinished: Duration = running.clone().sum();
            let longest = running.max().unwrap_or_default();
            let depth = state.ready.len() as f64;
            drop(state);
            for (desc, value) in [
                (&measures::DEPTH, depth),
                (&measures::UNFINISHED, unfinished.as_secs_f64()),
                (&measures::LONGEST, longest.as_secs_f64()),
            ] {
                out.push(Gathered { desc, samples: vec![Sample::number(&[name], value)] });
            }
        }));
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
    async fn what_waits_and_what_is_worked_on_is_measured() {
        let registry = Registry::default();
        let queue = Queue::new();
        queue.measure(&registry, "deployment-controller");
        for key in ["a", "a", "b"] {
            queue.add(key);
        }
        queue.add_rate_limited("c");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(queue.next().await, "a");
        tokio::time::advance(Duration::from_secs(3)).await;
        let page = coracle_api::metrics::write_text(&registry.gather());
        for line in [
            "workqueue_adds_total{name=\"deployment\"} 3",
            "workqueue_depth{name=\"deployment\"} 2",
            "workqueue_retries_total{name=\"deployment\"} 1",
            "workqueue_queue_duration_seconds_sum{name=\"deployment\"} 2",
            "workqueue_unfinished_work_seconds{name=\"deployment\"} 3",
            "workqueue_longest_running_processor_seconds{name=\"deployment\"} 3",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
        }
        queue.done(&"a");
        let page = coracle_api::metrics::write_text(&registry.gather());
        assert!(page.contains("workqueue_work_duration_seconds_sum{name=\"deployment\"} 3"), "{page}");
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
