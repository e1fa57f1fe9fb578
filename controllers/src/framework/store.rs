//! One type's objects as last seen, with the indexes that loops read by.
//!
//! Invariant: only the type's [`Reflector`](super::Reflector) writes here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    sync::Arc,
};

use kube::Resource;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Key, controller_of};

/// What a type must be to be reflected.
pub trait Reflected: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Reflected for K {}

/// One type's objects as last seen.
pub struct Store<K> {
    index: RwLock<Index<K>>,
    synced: watch::Sender<bool>,
}

struct Index<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// What was asked for with [`Store::index`], by its name.
    asked: HashMap<&'static str, Asked<K>>,
    /// By the uid of the controller in the owner references.
    controlled: HashMap<String, BTreeSet<Key>>,
    /// Those that have no controller.
    orphans: BTreeSet<Key>,
    /// The highest revision seen on an object.
    revision: u64,
    /// How many full lists have begun.
    lists_begun: u64,
    /// The number of the last one that was taken over.
    list_done: u64,
}

/// Which values an object has in an index that was asked for.
type Values<K> = fn(&K) -> Vec<String>;

struct Asked<K> {
    values: Values<K>,
    keys: HashMap<String, BTreeSet<Key>>,
}

impl<K> Asked<K> {
    fn insert(&mut self, key: &Key, object: &K) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.values)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

/// An object before and after.
pub(crate) type Sides<K> = (Option<Arc<K>>, Option<Arc<K>>);

impl<K: Reflected> Default for Store<K> {
    fn default() -> Self {
        let index = Index {
            objects: BTreeMap::new(),
            asked: HashMap::new(),
            controlled: HashMap::new(),
            orphans: BTreeSet::new(),
            revision: 0,
            lists_begun: 0,
            list_done: 0,
        };
        Self { index: RwLock::new(index), synced: watch::Sender::new(false) }
    }
}

impl<K: Reflected> Store<K> {
    /// A store of `objects` that nothing changes.
    pub fn of(objects: Vec<K>) -> Self {
        let store = Self::default();
        store.replace(objects.into_iter().map(Arc::new).collect());
        store
    }

    /// The object at `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.index.read().objects.get(key).cloned()
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.index.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        index
            .objects
            .range(Key::namespaced(namespace, "")..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects whose controller has this uid.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        let keys = index.controlled.get(uid);
        keys.into_iter().flatten().filter_map(|key| index.objects.get(key).cloned()).collect()
    }

    /// The objects of one namespace that have no controller.
    pub fn orphans_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        index
            .orphans
            .range(Key::namespaced(namespace, "")..)
            .take_while(|key| key.namespace == namespace)
            .filter_map(|key| index.objects.get(key).cloned())
            .collect()
    }

    /// Keeps an index called `name`, by which [`Store::indexed`] finds the
    /// objects for which `values` gives a value. Whoever asks for a name
    /// again asks for the same values.
    pub fn index(&self, name: &'static str, values: fn(&K) -> Vec<String>) {
        let mut index = self.index.write();
        let Index { objects, asked, .. } = &mut *index;
        asked.entry(name).or_insert_with(|| {
            let mut made = Asked { values, keys: HashMap::new() };
            objects.iter().for_each(|(key, object)| made.insert(key, object));
            made
        });
    }

    /// The objects that have `value` in the index called `name`, by namespace and name.
    pub fn indexed(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        let keys = index.asked.get(name).and_then(|asked| asked.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| index.objects.get(key).cloned()).collect()
    }

    /// How many objects have `value` in the index called `name`.
    pub fn count_indexed(&self, name: &str, value: &str) -> usize {
        let index = self.index.read();
        index.asked.get(name).and_then(|asked| asked.keys.get(value)).map_or(0, BTreeSet::len)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.index.read().objects.len()
    }

    /// True when there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when a write at `revision` is certainly part of what this store
    /// shows. `lists_begun` is [`Store::lists_begun`] from after the write: a
    /// list that had begun before may be without it.
    pub fn has_seen(&self, revision: u64, lists_begun: u64) -> bool {
        let index = self.index.read();
        index.revision >= revision || index.list_done > lists_begun
    }

    /// How many full lists have begun.
    pub fn lists_begun(&self) -> u64 {
        self.index.read().lists_begun
    }

    /// A full list begins.
    pub(crate) fn begin_list(&self) {
        self.index.write().lists_begun += 1;
    }

    /// Tells when the first full list is here.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Takes `object` over and returns what it replaces.
    pub(crate) fn apply(&self, object: Arc<K>) -> Option<Arc<K>> {
        self.index.write().insert(object)
    }

    /// Takes the object out and returns it.
    pub(crate) fn remove(&self, object: &K) -> Option<Arc<K>> {
        let mut index = self.index.write();
        index.see(object);
        index.remove(&Key::of(object.meta()))
    }

    /// Makes the store equal to `objects`; returns (before, after) of every
    /// object that differs.
    pub(crate) fn replace(&self, objects: Vec<Arc<K>>) -> Vec<Sides<K>> {
        let mut changes = Vec::new();
        let mut index = self.index.write();
        let mut gone: BTreeSet<Key> = index.objects.keys().cloned().collect();
        for object in objects {
            gone.remove(&Key::of(object.meta()));
            let old = index.insert(object.clone());
            let same =
                old.as_ref().is_some_and(|old| old.meta().resource_version == object.meta().resource_version);
            if !same {
                changes.push((old, Some(object)));
            }
        }
        for key in gone {
            changes.push((index.remove(&key), None));
        }
        index.list_done = index.lists_begun;
        drop(index);
        self.synced.send_replace(true);
        changes
    }
}

impl<K: Reflected> Index<K> {
    fn see(&mut self, object: &K) {
        let revision = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok());
        self.revision = self.revision.max(revision.unwrap_or(0));
    }

    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        self.see(&object);
        let key = Key::of(object.meta());
        let old = self.remove(&key);
        match controller_of(object.meta()) {
            Some(owner) => self.controlled.entry(owner.uid.clone()).or_default().insert(key.clone()),
            None => self.orphans.insert(key.clone()),
        };
        self.asked.values_mut().for_each(|asked| asked.insert(&key, &object));
        self.objects.insert(key, object);
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        self.asked.values_mut().for_each(|asked| asked.remove(key, &old));
        match controller_of(old.meta()) {
            None => {
                self.orphans.remove(key);
            }
            Some(owner) => {
                if let Some(keys) = self.controlled.get_mut(&owner.uid) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.controlled.remove(&owner.uid);
                    }
                }
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::Pod,
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    };

    use super::*;

    fn pod(namespace: &str, name: &str, revision: u64, owner: Option<&str>) -> Arc<Pod> {
        let owner = owner.map(|uid| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        Arc::new(Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                resource_version: Some(revision.to_string()),
                owner_references: owner.map(|o| vec![o]),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        })
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|p| Key::of(&p.metadata).to_string()).collect()
    }

    #[test]
    fn indexes_follow_the_objects() {
        let store = Store::default();
        store.apply(pod("a", "one", 1, Some("u1")));
        store.apply(pod("a", "two", 2, None));
        store.apply(pod("b", "three", 3, Some("u1")));
        assert_eq!(names(&store.controlled_by("u1")), ["a/one", "b/three"]);
        assert_eq!(names(&store.in_namespace("a")), ["a/one", "a/two"]);
        assert_eq!(names(&store.orphans_in("a")), ["a/two"]);
        // The controller lets one go and takes two.
        store.apply(pod("a", "one", 4, None));
        store.apply(pod("a", "two", 5, Some("u1")));
        store.remove(&pod("b", "three", 6, None));
        assert_eq!(names(&store.controlled_by("u1")), ["a/two"]);
        assert_eq!(names(&store.orphans_in("a")), ["a/one"]);
        assert!(store.has_seen(6, 0) && !store.has_seen(7, 0));
    }

    #[test]
    fn an_index_is_kept_from_when_it_is_asked_for() {
        let store = Store::default();
        store.apply(pod("a", "one", 1, Some("u1")));
        store.index("revision", |pod: &Pod| pod.metadata.resource_version.clone().into_iter().collect());
        store.apply(pod("a", "two", 1, None));
        assert_eq!(names(&store.indexed("revision", "1")), ["a/one", "a/two"]);
        store.apply(pod("a", "one", 2, None));
        assert_eq!(names(&store.indexed("revision", "1")), ["a/two"]);
        store.remove(&pod("a", "two", 3, None));
        assert_eq!(store.count_indexed("revision", "1") + store.count_indexed("none", "1"), 0);
        assert_eq!(names(&store.indexed("revision", "2")), ["a/one"]);
    }

    #[test]
    fn only_a_list_that_began_after_a_write_shows_it() {
        let store = Store::<Pod>::default();
        store.begin_list();
        let written_at = store.lists_begun();
        store.replace(vec![pod("a", "old", 1, None)]);
        assert!(!store.has_seen(100, written_at), "that list may be older than the write");
        store.begin_list();
        assert!(!store.has_seen(100, written_at));
        store.replace(vec![pod("a", "old", 1, None)]);
        assert!(store.has_seen(100, written_at));
    }

    #[test]
    fn a_new_list_tells_only_what_differs() {
        let store = Store::default();
        store.replace(vec![
            pod("a", "kept", 1, None),
            pod("a", "changed", 2, None),
            pod("a", "gone", 3, None),
        ]);
        let changes = store.replace(vec![
            pod("a", "kept", 1, None),
            pod("a", "changed", 5, None),
            pod("a", "new", 6, None),
        ]);
        let mut told: Vec<_> = changes
            .iter()
            .map(|(old, new)| {
                let name = |p: &Option<Arc<Pod>>| p.as_ref().and_then(|p| p.metadata.name.clone());
                (name(old), name(new))
            })
            .collect();
        told.sort();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(told, [(None, some("new")), (some("changed"), some("changed")), (some("gone"), None)]);
    }
}
