//! Encodings of objects that are not what is stored: made once for each version
//! of an object, and kept while somebody wants them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use coracle_api::GroupVersionKind;
use coracle_store::Revision;
use parking_lot::Mutex;

// So much is kept of what was wanted last, and as much of what was before.
const ROOM: usize = 64 << 20;
// What nobody has wanted for one to two of these is let go.
const AGE: Duration = Duration::from_secs(60);

/// Messages by the revision that made their object what it is.
pub struct Kept(Mutex<Generations>);

struct Generations {
    young: HashMap<u64, (GroupVersionKind, Bytes)>,
    old: HashMap<u64, (GroupVersionKind, Bytes)>,
    held: usize,
    turned: Instant,
}

impl Default for Kept {
    fn default() -> Self {
        let (young, old) = Default::default();
        Self(Mutex::new(Generations { young, old, held: 0, turned: Instant::now() }))
    }
}

impl Kept {
    /// The encoding of the object that `revision` made, as this kind. Made
    /// outside of the lock: two who want it first may both make it.
    pub fn get(&self, revision: Revision, kind: &GroupVersionKind, make: impl FnOnce() -> Bytes) -> Bytes {
        if let Some(known) = self.0.lock().find(revision.0, kind) {
            return known;
        }
        let made = make();
        self.0.lock().put(revision.0, (kind.clone(), made.clone()));
        made
    }
}

impl Generations {
    fn find(&mut self, revision: u64, kind: &GroupVersionKind) -> Option<Bytes> {
        // The same object may be shown as two kinds: an event of either group.
        let fits = |(shown, bytes): &(GroupVersionKind, Bytes)| (shown == kind).then(|| bytes.clone());
        if let Some(found) = self.young.get(&revision).and_then(fits) {
            return Some(found);
        }
        let found = self.old.get(&revision).and_then(fits)?;
        self.put(revision, (kind.clone(), found.clone()));
        Some(found)
    }

    fn put(&mut self, revision: u64, entry: (GroupVersionKind, Bytes)) {
        if self.held > ROOM || self.turned.elapsed() > AGE {
            self.old = std::mem::take(&mut self.young);
            self.held = 0;
            self.turned = Instant::now();
        }
        self.held += entry.1.len();
        self.young.insert(revision, entry);
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::facts::RESOURCES;

    use super::*;

    fn kind(group: &str, plural: &str) -> GroupVersionKind {
        let found = RESOURCES.iter().find(|it| it.gvk.group == group && it.plural == plural);
        found.expect("a kind").gvk.clone()
    }

    #[test]
    fn each_version_is_made_once_for_each_kind() {
        let kept = Kept::default();
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
        let kept = Kept::default();
        let piece = Bytes::from(vec![0; ROOM / 4]);
        for revision in 0..100 {
            kept.get(Revision(revision), &kind("", "pods"), || piece.clone());
        }
        let generations = kept.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 12);
    }
}
