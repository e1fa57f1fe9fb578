//! Encodings of objects that are not what is stored: made once for each version
//! of an object, and kept while somebody wants them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use coracle_store::Revision;
use parking_lot::Mutex;

// What nobody has wanted for one to two of these is let go.
const AGE: Duration = Duration::from_secs(60);
// What an entry takes beside what it holds.
const ENTRY: usize = 128;

/// Something that is kept, and how many bytes that takes.
pub trait Held: Clone {
    /// Bytes beside the entry itself.
    fn size(&self) -> usize;
}

impl Held for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Held for u32 {
    fn size(&self) -> usize {
        0
    }
}

/// Encodings by the revision that made their object what it is, and by what
/// else they depend on: the same object may be shown as two kinds.
pub struct Kept<K, V> {
    generations: Mutex<Generations<K, V>>,
    room: usize,
}

struct Generations<K, V> {
    young: HashMap<u64, (K, V)>,
    old: HashMap<u64, (K, V)>,
    held: usize,
    turned: Instant,
}

impl<K: Clone + PartialEq, V: Held> Kept<K, V> {
    /// Keeps about `room` bytes of what was wanted last, and as much of what
    /// was before.
    pub fn new(room: usize) -> Self {
        let generations =
            Generations { young: HashMap::new(), old: HashMap::new(), held: 0, turned: Instant::now() };
        Self { generations: Mutex::new(generations), room }
    }

    /// What is kept of the object that `revision` made, for this key. Made
    /// outside of the lock: two who want it first may both make it.
    pub fn get(&self, revision: Revision, key: &K, make: impl FnOnce() -> V) -> V {
        if let Some(known) = self.find(revision, key) {
            return known;
        }
        let made = make();
        self.put(revision, key.clone(), made.clone());
        made
    }

    /// The same, if it is there.
    pub fn find(&self, revision: Revision, key: &K) -> Option<V> {
        self.generations.lock().find(revision.0, key, self.room)
    }

    /// Keeps something.
    pub fn put(&self, revision: Revision, key: K, value: V) {
        self.generations.lock().put(revision.0, (key, value), self.room);
    }
}

impl<K: Clone + PartialEq, V: Held> Generations<K, V> {
    fn find(&mut self, revision: u64, key: &K, room: usize) -> Option<V> {
        let fits = |(known, value): &(K, V)| (known == key).then(|| value.clone());
        if let Some(found) = self.young.get(&revision).and_then(fits) {
            return Some(found);
        }
        let found = self.old.get(&revision).and_then(fits)?;
        self.put(revision, (key.clone(), found.clone()), room);
        Some(found)
    }

    fn put(&mut self, revision: u64, entry: (K, V), room: usize) {
        if self.held > room || self.turned.elapsed() > AGE {
            self.old = std::mem::take(&mut self.young);
            self.held = 0;
            self.turned = Instant::now();
        }
        self.held += ENTRY + entry.1.size();
        self.young.insert(revision, entry);
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::{GroupVersionKind, facts::RESOURCES};

    use super::*;

    fn kind(group: &str, plural: &str) -> GroupVersionKind {
        let found = RESOURCES.iter().find(|it| it.gvk.group == group && it.plural == plural);
        found.expect("a kind").gvk.clone()
    }

    #[test]
    fn each_version_is_made_once_for_each_kind() {
        let kept = Kept::new(1 << 20);
        let mut made = 0;
        let mut get = |revision: u64, group: &str| {
            let made = &mut made;
            kept.get(Revision(revision), &kind(group, "events"), || {
                *made += 1;
                Bytes::from(format!("{group} {revision}"))
            })
        };
        assert_eq!(get(1, ""), " 1");
        assert_eq!(get(1, ""), " 1");
        assert_eq!(get(2, ""), " 2");
        assert_eq!(get(1, "events.k8s.io"), "events.k8s.io 1");
        assert_eq!(made, 3);
    }

    #[test]
    fn it_keeps_no_more_than_it_has_room_for() {
        const ROOM: usize = 1 << 20;
        let kept = Kept::new(ROOM);
        let piece = Bytes::from(vec![0; ROOM / 4]);
        for revision in 0..100 {
            kept.get(Revision(revision), &kind("", "pods"), || piece.clone());
        }
        let generations = kept.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 12);
    }
}
