//! Who owns whom. Pure: changes go in, and out comes what must be looked at.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Kind, Work, absent::OwnerKey};
use crate::framework::Key;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// An object of the graph.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) kind: Arc<Kind>,
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) ending: bool,
    foreground: bool,
    orphan: bool,
}

impl Item {
    fn new(kind: &Arc<Kind>, meta: &ObjectMeta) -> Self {
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|f| f == finalizer);
        Self {
            kind: kind.clone(),
            key: Key::of(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            ending: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// It waits until its dependents are gone.
    pub(super) fn waits(&self) -> bool {
        self.ending && self.foreground
    }

    /// The object as an owner.
    fn owner_key(&self) -> OwnerKey {
        let Kind { resource, .. } = &*self.kind;
        let Key { namespace, name } = &self.key;
        [&resource.group, &resource.kind, namespace, name, &self.uid].map(String::clone)
    }

    fn orphans(&self) -> bool {
        self.ending && self.orphan
    }

    /// It holds the deletion of its owner `uid` up.
    pub(super) fn blocks(&self, uid: &str) -> bool {
        self.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
    }

    /// True when `owner`, as `dependent` names it, is this object.
    pub(super) fn is_named_by(&self, owner: &OwnerReference, dependent: &Key) -> bool {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let in_reach = self.key.namespace.is_empty() || self.key.namespace == dependent.namespace;
        self.kind.resource.group == group
            && self.kind.resource.kind == owner.kind
            && self.key.name == owner.name
            && in_reach
    }
}

/// What a change leads to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What must be looked at.
    pub(super) work: Vec<Work>,
    /// Owners that are gone.
    pub(super) gone: Vec<OwnerKey>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.work.extend(other.work);
        self.gone.extend(other.gone);
    }
}

/// All objects and their owners.
#[derive(Default)]
pub(super) struct Graph {
    items: HashMap<String, Item>,
    /// The uids of an owner's dependents; the owner itself may be unknown.
    dependents: HashMap<String, BTreeSet<String>>,
    /// How many objects hold an owner's deletion up, by its uid.
    blocking: HashMap<String, usize>,
    /// The uids of a resource's objects.
    by_resource: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    /// The object, and whether all its owners are known to be there to stay.
    pub(super) fn with_owners(&self, uid: &str) -> Option<(Item, bool)> {
        let item = self.items.get(uid)?;
        let owned = item.owners.iter().all(|owner| {
            self.items
                .get(&owner.uid)
                .is_some_and(|known| !known.waits() && known.is_named_by(owner, &item.key))
        });
        Some((item.clone(), owned))
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }

    /// An object came or changed.
    pub(super) fn set(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta) -> Outcome {
        let item = Item::new(kind, meta);
        let uid = item.uid.clone();
        if uid.is_empty() {
            return Outcome::default();
        }
        let mut work = Vec::new();
        let before = self.items.remove(&uid);
        if let Some(before) = &before {
            self.unlink(before);
        }
        self.link(&item);
        if let Some(before) = &before {
            work.extend(self.released_owners(before, Some(&item)));
        }
        self.by_resource.entry(resource_name(kind)).or_default().insert(uid.clone());
        let questionable = item.owners.iter().any(|owner| {
            self.items
                .get(&owner.uid)
                .is_none_or(|known| known.waits() || !known.is_named_by(owner, &item.key))
        });
        let new_owners = before.as_ref().is_none_or(|before| before.owners != item.owners);
        if questionable && new_owners {
            work.push(Work::Delete(uid.clone()));
        }
        if item.orphans() && !before.as_ref().is_some_and(Item::orphans) {
            work.push(Work::Orphan(uid.clone()));
        }
        if item.waits() && !before.as_ref().is_some_and(Item::waits) {
            work.extend(self.dependents(&uid).map(|dependent| Work::Delete(dependent.uid.clone())));
            work.push(Work::Delete(uid.clone()));
        }
        self.items.insert(uid, item);
        Outcome { work, gone: Vec::new() }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Outcome {
        let Some(item) = self.items.remove(uid) else { return Outcome::default() };
        let mut work: Vec<Work> = self.dependents(uid).map(|d| Work::Delete(d.uid.clone())).collect();
        let gone = if work.is_empty() { Vec::new() } else { vec![item.owner_key()] };
        self.unlink(&item);
        work.extend(self.released_owners(&item, None));
        if let Some(uids) = self.by_resource.get_mut(&resource_name(&item.kind)) {
            uids.remove(uid);
        }
        Outcome { work, gone }
    }

    /// All objects of a kind, as listed anew.
    pub(super) fn replace(&mut self, kind: &Arc<Kind>, listed: &[ObjectMeta]) -> Outcome {
        let mut gone = self.by_resource.get(&resource_name(kind)).cloned().unwrap_or_default();
        let mut outcome = Outcome::default();
        for meta in listed {
            gone.remove(meta.uid.as_deref().unwrap_or_default());
            outcome.add(self.set(kind, meta));
        }
        gone.iter().for_each(|uid| outcome.add(self.remove(uid)));
        outcome
    }

    /// A kind is no longer served, which does not say that its objects are gone.
    pub(super) fn forget(&mut self, kind: &Arc<Kind>) -> Outcome {
        Outcome { gone: Vec::new(), ..self.replace(kind, &[]) }
    }

    /// The owners that wait and that `before` held up, but `after` does not,
    /// and nobody else does.
    fn released_owners(&self, before: &Item, after: Option<&Item>) -> Vec<Work> {
        before
            .owners
            .iter()
            .filter(|owner| before.blocks(&owner.uid) && !after.is_some_and(|after| after.blocks(&owner.uid)))
            .filter(|owner| !self.blocking.contains_key(&owner.uid))
            .filter(|owner| self.items.get(&owner.uid).is_some_and(Item::waits))
            .map(|owner| Work::Delete(owner.uid.clone()))
            .collect()
    }

    fn link(&mut self, item: &Item) {
        for owner in &item.owners {
            let new = self.dependents.entry(owner.uid.clone()).or_default().insert(item.uid.clone());
            if new && item.blocks(&owner.uid) {
                *self.blocking.entry(owner.uid.clone()).or_default() += 1;
            }
        }
    }

    fn unlink(&mut self, item: &Item) {
        for owner in &item.owners {
            let Some(dependents) = self.dependents.get_mut(&owner.uid) else { continue };
            let had = dependents.remove(&item.uid);
            if dependents.is_empty() {
                self.dependents.remove(&owner.uid);
            }
            if had
                && item.blocks(&owner.uid)
                && let Some(count) = self.blocking.get_mut(&owner.uid)
            {
                *count -= 1;
                if *count == 0 {
                    self.blocking.remove(&owner.uid);
                }
            }
        }
    }
}

fn resource_name(kind: &Kind) -> String {
    crate::framework::feed_name(&kind.resource.group, &kind.resource.plural)
}
