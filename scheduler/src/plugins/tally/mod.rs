//! Counts of pods by node and topology domain, for the rules that compare
//! domains.
//!
//! Start at [`Tally::at`]. A tally remembers the nodes it last saw and looks
//! only at those that differ, so a cycle costs what changed since the last
//! one, and not what there is: sorts of pods that are asked for are counted
//! once and then kept up to date.
//!
//! Invariant: what it answers depends on the snapshot alone, never on the
//! snapshots before.

mod carried;
mod column;
mod group;
mod term;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use coracle_controllers::{node_selector::Selection, storage::claims_of};
use k8s_openapi::api::core::v1::{Affinity, Node};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use carried::{Wish, Wished};
pub(crate) use column::ABSENT;
pub(crate) use group::Sort;
pub(crate) use term::{Labels, Term, matches, selector};

use crate::{
    cache::{NodeInfo, Snapshot},
    pod::PodInfo,
};
use carried::Carried;
use column::Column;
use group::Group;

/// More sorts of pods, labels or selections than this are not remembered.
const REMEMBERED: usize = 256;

/// The counts. Cheap to share.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counts>);

/// The counts as of one snapshot.
pub(crate) struct View<'a>(MutexGuard<'a, Counts>);

/// The domains of one label, with a count for each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Domains {
    /// The domain of each slot.
    pub(crate) of: Arc<Vec<u32>>,
    /// The count of each domain.
    pub(crate) counts: Arc<Vec<i64>>,
}

impl Domains {
    /// The domain of `slot`; none when its node lacks the label.
    pub(crate) fn at(&self, slot: usize) -> Option<usize> {
        self.of.get(slot).filter(|domain| **domain != ABSENT).map(|domain| *domain as usize)
    }

    /// The count of a domain.
    pub(crate) fn count(&self, domain: usize) -> i64 {
        self.counts.get(domain).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Counts {
    /// By slot.
    nodes: Vec<Option<Arc<NodeInfo>>>,
    /// How many there are.
    known: usize,
    /// The cache and the number of the snapshot that they are of.
    source: Arc<()>,
    version: u64,
    columns: HashMap<Arc<str>, Column>,
    groups: HashMap<Sort, Group>,
    selected: HashMap<String, Selected>,
    carried: Carried,
    /// How many nodes have each image.
    images: Arc<HashMap<String, usize>>,
    /// How many pods use each claim, by namespace and name.
    claims: HashMap<String, usize>,
    now: u64,
}

struct Selected {
    selection: Selection,
    by_slot: Arc<Vec<bool>>,
    used: u64,
}

impl Tally {
    /// The counts as of `snapshot`.
    pub(crate) fn at(&self, snapshot: &Snapshot) -> View<'_> {
        let mut counts = self.0.lock();
        counts.follow(snapshot);
        View(counts)
    }
}

impl View<'_> {
    /// The nodes with their slots.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (usize, &Arc<NodeInfo>)> {
        self.0.nodes.iter().enumerate().filter_map(|(slot, info)| Some((slot, info.as_ref()?)))
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> usize {
        self.0.known
    }

    /// The domain of each slot by the label `key`, and how many nodes are in
    /// each domain.
    pub(crate) fn nodes_by(&mut self, key: &str) -> (Arc<Vec<u32>>, Arc<Vec<u32>>) {
        let key = self.0.asked(key);
        let column = self.0.columns.get(&key);
        column.map(|column| (column.domains().clone(), column.nodes().clone())).unwrap_or_default()
    }

    /// The domains of the label `key`, with how many pods of `sort` are in each.
    pub(crate) fn pods_by(&mut self, sort: &Sort, key: &str) -> Domains {
        let key = self.0.asked(key);
        self.0.count(sort);
        let Counts { columns, groups, .. } = &mut *self.0;
        match (columns.get(&key), groups.get_mut(sort)) {
            (Some(column), Some(group)) => {
                Domains { of: column.domains().clone(), counts: group.by_domain(&key, column) }
            }
            _ => Domains::default(),
        }
    }

    /// How many pods of `sort` are on each node, by slot.
    pub(crate) fn pods_on(&mut self, sort: &Sort) -> Arc<Vec<u32>> {
        self.0.count(sort);
        self.0.groups.get(sort).map(|group| group.by_slot().clone()).unwrap_or_default()
    }

    /// True when a pod that is placed uses the claim.
    pub(crate) fn uses_claim(&self, namespace: &str, name: &str) -> bool {
        self.0.claims.contains_key(&format!("{namespace}/{name}"))
    }

    /// How many nodes have each image.
    pub(crate) fn images(&self) -> Arc<HashMap<String, usize>> {
        self.0.images.clone()
    }

    /// Which nodes `selection` selects, by slot; `name` stands for it.
    pub(crate) fn selected(&mut self, name: &str, selection: impl FnOnce() -> Selection) -> Arc<Vec<bool>> {
        let now = self.0.now;
        if let Some(known) = self.0.selected.get_mut(name) {
            known.used = now;
            return known.by_slot.clone();
        }
        let selection = selection();
        let selects = |info: &Option<Arc<NodeInfo>>| selects(&selection, info.as_deref());
        let by_slot: Arc<Vec<bool>> = Arc::new(self.0.nodes.iter().map(selects).collect());
        forget_oldest(&mut self.0.selected, |selected| selected.used);
        let selected = Selected { selection, by_slot: by_slot.clone(), used: now };
        self.0.selected.insert(name.to_owned(), selected);
        by_slot
    }

    /// What pods that are placed wish of `pod`, with how many wish it in each
    /// domain.
    pub(crate) fn wished_of(
        &self,
        pod: &PodInfo,
        namespace_labels: Option<&Labels>,
    ) -> Vec<(Wished, Domains)> {
        let meta = &pod.pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let wished = self.0.carried.about(namespace, namespace_labels, meta.labels.as_ref());
        let domains = |wished: &Wished, counts: &Arc<Vec<i64>>| {
            let of = self.0.columns.get(&wished.key).map(|column| column.domains().clone());
            Domains { of: of.unwrap_or_default(), counts: counts.clone() }
        };
        wished.map(|(wished, counts)| (wished.clone(), domains(wished, counts))).collect()
    }
}

impl Counts {
    fn follow(&mut self, snapshot: &Snapshot) {
        self.now += 1;
        let same = Arc::ptr_eq(&self.source, &snapshot.source);
        if same && self.version == snapshot.version {
            return;
        }
        match snapshot.changed() {
            Some(changed) if same && self.version + 1 == snapshot.version => {
                changed.for_each(|info| self.update(info.slot, Some(info)));
            }
            _ => self.compare(snapshot.nodes()),
        }
        self.source = snapshot.source.clone();
        self.version = snapshot.version;
    }

    /// Looks for what differs.
    fn compare(&mut self, nodes: &[Arc<NodeInfo>]) {
        let slots = nodes.iter().map(|info| info.slot + 1).max().unwrap_or(0).max(self.nodes.len());
        let mut now: Vec<Option<&Arc<NodeInfo>>> = vec![None; slots];
        for info in nodes {
            if let Some(place) = now.get_mut(info.slot) {
                *place = Some(info);
            }
        }
        for (slot, info) in now.into_iter().enumerate() {
            let same = match (self.nodes.get(slot).and_then(Option::as_ref), info) {
                (Some(known), Some(info)) => Arc::ptr_eq(known, info),
                (known, info) => known.is_none() && info.is_none(),
            };
            if !same {
                self.update(slot, info);
            }
        }
    }

    fn update(&mut self, slot: usize, after: Option<&Arc<NodeInfo>>) {
        if self.nodes.len() <= slot {
            self.nodes.resize(slot + 1, None);
        }
        let before = self.nodes.get_mut(slot).and_then(|place| std::mem::replace(place, after.cloned()));
        self.known = self.known + usize::from(after.is_some()) - usize::from(before.is_some());
        for pod in only_in(before.as_deref(), after.map(Arc::as_ref)) {
            self.change(pod, slot, -1);
        }
        self.relabel(slot, before.as_deref(), after.map(Arc::as_ref));
        for pod in only_in(after.map(Arc::as_ref), before.as_deref()) {
            self.change(pod, slot, 1);
        }
        let same = match (&before, after) {
            (Some(before), Some(after)) => same_node(before, after),
            _ => false,
        };
        if !same {
            self.count_images(before.as_deref(), after.map(Arc::as_ref));
        }
    }

    fn count_images(&mut self, before: Option<&NodeInfo>, after: Option<&NodeInfo>) {
        let (before, after) = (images(before), images(after));
        if before == after {
            return;
        }
        let images = Arc::make_mut(&mut self.images);
        for name in after.difference(&before) {
            *images.entry((*name).to_owned()).or_default() += 1;
        }
        for name in before.difference(&after) {
            if let Some(count) = images.get_mut(*name) {
                *count -= 1;
                if *count == 0 {
                    images.remove(*name);
                }
            }
        }
    }

    fn change(&mut self, pod: &PodInfo, slot: usize, more: i64) {
        for group in self.groups.iter_mut().filter(|(sort, _)| sort.holds(pod)).map(|(_, group)| group) {
            group.change(slot, more, &self.columns);
        }
        // Terms that cannot be read hold for nobody.
        let wished = Wished::of(pod).unwrap_or_default();
        for one in &wished {
            self.column(&one.key);
        }
        self.carried.change(wished, slot, more, &self.columns);
        let namespace = pod.pod.metadata.namespace.as_deref().unwrap_or_default();
        for name in claims_of(&pod.pod) {
            let count = self.claims.entry(format!("{namespace}/{name}")).or_default();
            *count = if more > 0 { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.claims.remove(&format!("{namespace}/{name}"));
            }
        }
    }

    fn relabel(&mut self, slot: usize, before: Option<&NodeInfo>, after: Option<&NodeInfo>) {
        let inhabited = before.is_some_and(|before| !before.pods.is_empty());
        let (before, after) = (node(before), node(after));
        if let (Some(before), Some(after)) = (before, after)
            && before.metadata.labels == after.metadata.labels
            && before.metadata.name == after.metadata.name
        {
            return;
        }
        for (key, column) in &mut self.columns {
            let (from, to) = column.set(slot, label(after, key));
            if from != to && inhabited {
                self.groups.values_mut().for_each(|group| group.moved(key, slot, (from, to)));
                self.carried.moved(key, slot, (from, to));
            }
        }
        for selected in self.selected.values_mut() {
            let by_slot = Arc::make_mut(&mut selected.by_slot);
            if by_slot.len() <= slot {
                by_slot.resize(slot + 1, false);
            }
            if let Some(place) = by_slot.get_mut(slot) {
                *place = after.is_some_and(|node| selected.selection.matches(node));
            }
        }
    }

    /// Makes the column of the label `key`, if it is not there.
    fn column(&mut self, key: &str) -> Arc<str> {
        if let Some((key, _)) = self.columns.get_key_value(key) {
            return key.clone();
        }
        let mut column = Column::default();
        for (slot, info) in self.nodes.iter().enumerate() {
            column.set(slot, label(node(info.as_deref()), key));
        }
        let key: Arc<str> = key.into();
        self.columns.insert(key.clone(), column);
        key
    }

    /// Makes the column of a label that a pod to be placed asks for.
    fn asked(&mut self, key: &str) -> Arc<str> {
        if self.columns.len() >= REMEMBERED && !self.columns.contains_key(key) {
            let keys = self.carried.keys();
            self.columns.retain(|key, _| keys.contains(key));
            self.groups.values_mut().for_each(|group| group.forget_but(&keys));
        }
        self.column(key)
    }

    /// Counts the pods of `sort`, if they are not.
    fn count(&mut self, sort: &Sort) {
        let now = self.now;
        if let Some(group) = self.groups.get_mut(sort) {
            group.used = now;
            return;
        }
        let mut group = Group::default();
        group.used = now;
        for (slot, info) in self.nodes.iter().enumerate() {
            let count = info.iter().flat_map(|info| info.pods.values()).filter(|pod| sort.holds(pod)).count();
            if count > 0 {
                group.change(slot, i64::try_from(count).unwrap_or(i64::MAX), &self.columns);
            }
        }
        forget_oldest(&mut self.groups, |group| group.used);
        self.groups.insert(sort.clone(), group);
    }
}

/// The pods of `one` that `other` is without, or counts otherwise.
fn only_in<'a>(one: Option<&'a NodeInfo>, other: Option<&'a NodeInfo>) -> Vec<&'a Arc<PodInfo>> {
    // Both are in the order of uids: side by side is cheaper than looking up.
    let mut others = other.into_iter().flat_map(|other| other.pods.values()).peekable();
    let mut only = Vec::new();
    for pod in one.into_iter().flat_map(|one| one.pods.values()) {
        while others.next_if(|other| !Arc::ptr_eq(other, pod) && other.uid < pod.uid).is_some() {}
        let same = others.peek().filter(|other| Arc::ptr_eq(other, pod) || other.uid == pod.uid);
        if !same.is_some_and(|other| counts_alike(pod, other)) {
            only.push(pod);
        }
    }
    only
}

/// True when both, of one uid, count for the same.
fn counts_alike(one: &Arc<PodInfo>, other: &Arc<PodInfo>) -> bool {
    let (a, b) = (&one.pod.metadata, &other.pod.metadata);
    fn affinity(pod: &PodInfo) -> Option<&Affinity> {
        pod.spec()?.affinity.as_ref()
    }
    Arc::ptr_eq(one, other)
        || (a.labels == b.labels
            && a.deletion_timestamp.is_some() == b.deletion_timestamp.is_some()
            && affinity(one) == affinity(other))
}

fn same_node(one: &NodeInfo, other: &NodeInfo) -> bool {
    matches!((&one.node, &other.node), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
}

fn images(info: Option<&NodeInfo>) -> BTreeSet<&str> {
    let images = node(info).and_then(|node| node.status.as_ref()?.images.as_ref());
    images.into_iter().flatten().flat_map(|image| image.names.iter().flatten()).map(String::as_str).collect()
}

fn selects(selection: &Selection, info: Option<&NodeInfo>) -> bool {
    node(info).is_some_and(|node| selection.matches(node))
}

fn node(info: Option<&NodeInfo>) -> Option<&Node> {
    info?.node.as_deref()
}

fn label<'a>(node: Option<&'a Node>, key: &str) -> Option<&'a str> {
    node?.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Makes room for one more.
fn forget_oldest<K: Clone + Eq + std::hash::Hash, V>(of: &mut HashMap<K, V>, used: impl Fn(&V) -> u64) {
    if of.len() < REMEMBERED {
        return;
    }
    let oldest = of.iter().min_by_key(|(_, value)| used(value)).map(|(key, _)| key.clone());
    oldest.map(|oldest| of.remove(&oldest));
}
