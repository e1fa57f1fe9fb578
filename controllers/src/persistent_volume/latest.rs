//! Objects as last seen or written, whichever is newer: what this loop wrote
//! itself must not be decided again on an older copy.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::framework::{Key, Reflected, Store};

pub(super) struct Latest<K> {
    store: Arc<Store<K>>,
    written: Mutex<HashMap<Key, Arc<K>>>,
}

impl<K: Reflected> Latest<K> {
    pub(super) fn new(store: Arc<Store<K>>) -> Self {
        Self { store, written: Mutex::default() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<K>> {
        let seen = self.store.get(key);
        let mut written = self.written.lock();
        let newer = |ours: &Arc<K>, seen: &Arc<K>| {
            ours.meta().uid == seen.meta().uid && revision(&**ours) > revision(&**seen)
        };
        match (seen, written.get(key)) {
            (Some(seen), Some(ours)) if newer(ours, &seen) => Some(ours.clone()),
            (seen, Some(_)) => {
                written.remove(key);
                seen
            }
            (seen, None) => seen,
        }
    }

    /// The objects that an index finds, as they are now.
    pub(super) fn indexed(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let seen = self.store.indexed(name, value);
        seen.iter().filter_map(|object| self.get(&Key::of(object.meta()))).collect()
    }

    pub(super) fn wrote(&self, mut object: K) -> Arc<K> {
        object.meta_mut().managed_fields = None;
        let object = Arc::new(object);
        self.written.lock().insert(Key::of(object.meta()), object.clone());
        object
    }
}

fn revision<K: Reflected>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}
