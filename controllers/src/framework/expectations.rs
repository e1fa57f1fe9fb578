//! Holds a loop back until it sees its own writes.
//!
//! Names are generated, so a loop that acts on an old copy would create or
//! delete too much. What is awaited is compared with the store itself, not
//! counted from events, so a lost event cannot leave a count wrong.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Key, Reflected, Store};

/// After this long an expectation is given up (upstream: five minutes).
const GIVE_UP: Duration = Duration::from_secs(300);

/// What each owner's key still waits to see.
#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<Key, Vec<Expected>>>,
}

struct Expected {
    key: Key,
    uid: String,
    act: Act,
    at: Timestamp,
}

enum Act {
    Created { revision: u64, lists_begun: u64 },
    Deleted,
}

impl Expectations {
    /// `owner` created `object`, which `store` will show.
    pub fn created<K: Reflected>(&self, owner: &Key, object: &K, store: &Store<K>, now: Timestamp) {
        let lists_begun = store.lists_begun();
        let meta = object.meta();
        let revision = meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        self.push(owner, object, Act::Created { revision, lists_begun }, now);
    }

    /// `owner` deleted `object`.
    pub fn deleted<K: Reflected>(&self, owner: &Key, object: &K, now: Timestamp) {
        self.push(owner, object, Act::Deleted, now);
    }

    fn push<K: Reflected>(&self, owner: &Key, object: &K, act: Act, at: Timestamp) {
        let meta = object.meta();
        let expected = Expected { key: Key::of(meta), uid: meta.uid.clone().unwrap_or_default(), act, at };
        self.pending.lock().entry(owner.clone()).or_default().push(expected);
    }

    /// True when all that `owner` wrote shows in `store`.
    pub fn satisfied<K: Reflected>(&self, owner: &Key, store: &Store<K>, now: Timestamp) -> bool {
        let mut pending = self.pending.lock();
        let Some(expected) = pending.get_mut(owner) else { return true };
        expected.retain(|e| !e.seen(store) && now.duration_since(e.at).unsigned_abs() < GIVE_UP);
        let satisfied = expected.is_empty();
        if satisfied {
            pending.remove(owner);
        }
        satisfied
    }

    /// Forgets `owner`.
    pub fn forget(&self, owner: &Key) {
        self.pending.lock().remove(owner);
    }
}

impl Expected {
    fn seen<K: Reflected>(&self, store: &Store<K>) -> bool {
        let current = store.get(&self.key).filter(|object| object.meta().uid.as_deref() == Some(&self.uid));
        match self.act {
            Act::Created { revision, lists_begun } => {
                current.is_some() || store.has_seen(revision, lists_begun)
            }
            Act::Deleted => current.is_none_or(|object| object.meta().deletion_timestamp.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::{
        api::core::v1::Pod,
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    };

    use super::*;

    fn pod(name: &str, revision: u64) -> Pod {
        Pod {
            metadata: ObjectMeta {
                namespace: Some("a".into()),
                name: Some(name.into()),
                uid: Some(format!("uid-{name}")),
                resource_version: Some(revision.to_string()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    #[test]
    fn writes_are_awaited_until_the_store_shows_them() {
        let (owner, store, expectations) =
            (Key::namespaced("a", "rs"), Store::default(), Expectations::default());
        let now = Timestamp::UNIX_EPOCH;
        assert!(expectations.satisfied(&owner, &store, now));

        expectations.created(&owner, &pod("one", 5), &store, now);
        assert!(!expectations.satisfied(&owner, &store, now));
        store.apply(Arc::new(pod("one", 5)));
        assert!(expectations.satisfied(&owner, &store, now), "seen itself");

        expectations.created(&owner, &pod("two", 6), &store, now);
        store.apply(Arc::new(pod("other", 9)));
        assert!(expectations.satisfied(&owner, &store, now), "the store is past it: created and gone");

        expectations.deleted(&owner, &pod("one", 5), now);
        assert!(!expectations.satisfied(&owner, &store, now));
        let mut ending = pod("one", 10);
        ending.metadata.deletion_timestamp = Some(Time(now));
        store.apply(Arc::new(ending));
        assert!(expectations.satisfied(&owner, &store, now), "ending is enough");
    }

    #[test]
    fn a_lost_write_does_not_hold_back_for_ever() {
        let (owner, store, expectations) =
            (Key::namespaced("a", "rs"), Store::<Pod>::default(), Expectations::default());
        expectations.created(&owner, &pod("one", 5), &store, Timestamp::UNIX_EPOCH);
        let later = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(!expectations.satisfied(&owner, &store, later(299)));
        assert!(expectations.satisfied(&owner, &store, later(300)));
    }
}
