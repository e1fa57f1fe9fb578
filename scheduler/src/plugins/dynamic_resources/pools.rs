//! The pools of devices that a node can reach, put together from the slices
//! that drivers publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use coracle_api::Quantity;
use coracle_controllers::{framework::Store, node_selector::Selection};
use k8s_openapi::api::{
    core::v1::{Node, NodeSelector},
    resource::v1::{Counter, Device, ResourceSlice},
};

/// The name of the index of slices by node; the value is empty for those that
/// are not of one node.
pub(crate) const BY_NODE: &str = "scheduler/slice-node";
/// The name of the index of slices by pool.
pub(crate) const BY_POOL: &str = "scheduler/slice-pool";

/// The values of the index [`BY_NODE`].
pub(crate) fn nodes(slice: &ResourceSlice) -> Vec<String> {
    vec![slice.spec.node_name.clone().unwrap_or_default()]
}

/// The values of the index [`BY_POOL`].
pub(crate) fn pools(slice: &ResourceSlice) -> Vec<String> {
    vec![PoolId::of(slice).to_string()]
}

/// A pool: its driver, its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolId {
    pub(super) driver: String,
    pub(super) pool: String,
}

impl PoolId {
    fn of(slice: &ResourceSlice) -> Self {
        Self { driver: slice.spec.driver.clone(), pool: slice.spec.pool.name.clone() }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.pool)
    }
}

/// Amounts by counter set, then by counter.
pub(super) type Counters = BTreeMap<String, BTreeMap<String, Quantity>>;

/// Whether the devices of a pool may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Usable,
    /// Its driver is publishing it.
    Incomplete,
    /// What its driver says cannot be.
    Invalid,
}

/// A pool as one node sees it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) id: PoolId,
    pub(super) state: State,
    /// Slices with devices that are for the node, by name.
    pub(super) slices: Vec<Arc<ResourceSlice>>,
    /// Those with devices for others.
    pub(super) others: Vec<Arc<ResourceSlice>>,
    /// What its devices share.
    pub(super) counters: Counters,
}

/// The devices of a slice.
pub(super) fn devices(slice: &ResourceSlice) -> &[Device] {
    slice.spec.devices.as_deref().unwrap_or_default()
}

/// Whether what stands with a slice or a device lets `node` reach it.
pub(super) fn reaches(
    node: &Node,
    name: Option<&str>,
    all: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match (name.filter(|name| !name.is_empty()), all, selector) {
        (Some(name), _, _) => node.metadata.name.as_deref() == Some(name),
        (None, Some(true), _) => true,
        (None, _, Some(selector)) => Selection::of(selector).matches(node),
        (None, _, None) => false,
    }
}

/// Whether `node` can reach a device that stands for itself.
pub(super) fn device_reaches(node: &Node, device: &Device) -> bool {
    reaches(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
}

fn is_relevant(node: &Node, slice: &ResourceSlice) -> bool {
    let spec = &slice.spec;
    let named = spec.node_name.as_deref().is_some_and(|name| !name.is_empty());
    if named || spec.all_nodes == Some(true) || spec.node_selector.is_some() {
        return reaches(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref());
    }
    spec.per_device_node_selection == Some(true)
        && devices(slice).iter().any(|device| device_reaches(node, device))
}

// Groups that may share a device are behind a gate that is off: such a slice
// is not looked at, and its pool stays incomplete.
fn uses_groups(slice: &ResourceSlice) -> bool {
    let consumed = devices(slice).iter().flat_map(|device| device.consumes_counters.iter().flatten());
    consumed.into_iter().any(|it| it.compatibility_groups.as_ref().is_some_and(|groups| !groups.is_empty()))
}

/// The pools that `node` can reach, by driver and name; those with devices
/// that must be made ready come last.
pub(super) fn of_node(slices: &Store<ResourceSlice>, node: &Node) -> Vec<Pool> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let near = if name.is_empty() { Vec::new() } else { slices.indexed(BY_NODE, name) };
    let mut pools: BTreeMap<PoolId, Vec<Arc<ResourceSlice>>> = BTreeMap::new();
    for slice in near.into_iter().chain(slices.indexed(BY_NODE, "")) {
        if uses_groups(&slice) || !is_relevant(node, &slice) {
            continue;
        }
        let known = pools.entry(PoolId::of(&slice)).or_default();
        let generation = known.first().map_or(i64::MIN, |first| first.spec.pool.generation);
        // Of a pool that is published anew only what is new counts.
        if slice.spec.pool.generation > generation {
            known.clear();
        }
        if slice.spec.pool.generation >= generation {
            known.push(slice);
        }
    }
    let (mut plain, mut conditional) = (Vec::new(), Vec::new());
    for (id, near) in pools {
        let Some(pool) = put_together(id, near, slices) else { continue };
        let waits =
            pool.slices.iter().flat_map(|slice| devices(slice)).any(|it| it.binding_conditions.is_some());
        if waits { conditional.push(pool) } else { plain.push(pool) }
    }
    plain.append(&mut conditional);
    plain
}

/// The pool that `near` is of; none when it is out of date.
fn put_together(id: PoolId, near: Vec<Arc<ResourceSlice>>, slices: &Store<ResourceSlice>) -> Option<Pool> {
    let pool = &near.first()?.spec.pool;
    let is_all = |count: usize| i64::try_from(count).is_ok_and(|count| count == pool.resource_slice_count);
    if is_all(near.len()) {
        return Some(build(id, near, Vec::new()));
    }
    let published = slices.indexed(BY_POOL, &id.to_string());
    if published.iter().any(|slice| slice.spec.pool.generation > pool.generation) {
        return None;
    }
    let all: Vec<_> = published
        .into_iter()
        .filter(|slice| slice.spec.pool.generation == pool.generation && !uses_groups(slice))
        .collect();
    if !is_all(all.len()) {
        return Some(Pool {
            id,
            state: State::Incomplete,
            slices: Vec::new(),
            others: Vec::new(),
            counters: Counters::new(),
        });
    }
    Some(build(id, near, all))
}

fn build(id: PoolId, mut near: Vec<Arc<ResourceSlice>>, all: Vec<Arc<ResourceSlice>>) -> Pool {
    near.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let names: BTreeSet<Option<String>> = near.iter().map(|slice| slice.metadata.name.clone()).collect();
    let far: Vec<_> = all.into_iter().filter(|slice| !names.contains(&slice.metadata.name)).collect();
    let counts =
        |slice: &Arc<ResourceSlice>| slice.spec.shared_counters.as_ref().is_some_and(|it| !it.is_empty());
    let (mut sets, slices): (Vec<_>, Vec<_>) = near.into_iter().partition(counts);
    let (more, others): (Vec<_>, Vec<_>) = far.into_iter().partition(counts);
    sets.extend(more);
    let mut pool = Pool { id, state: State::Usable, slices, others, counters: Counters::new() };
    match counters(&sets) {
        Some(counters) if are_distinct(&pool.slices) => {
            let known = pool.slices.iter().chain(&pool.others).all(|slice| are_known(slice, &counters));
            pool.counters = counters;
            if !known {
                pool.state = State::Invalid;
            }
        }
        _ => pool.state = State::Invalid,
    }
    pool
}

fn are_distinct(slices: &[Arc<ResourceSlice>]) -> bool {
    let mut names = BTreeSet::new();
    slices.iter().flat_map(|slice| devices(slice)).all(|device| names.insert(device.name.as_str()))
}

/// The amount that a counter has.
pub(super) fn amount(counter: &Counter) -> Quantity {
    Quantity::parse(&counter.value.0).unwrap_or_default()
}

/// The counters of a pool; none when a set is there twice.
fn counters(slices: &[Arc<ResourceSlice>]) -> Option<Counters> {
    let mut all = Counters::new();
    for set in slices.iter().flat_map(|slice| slice.spec.shared_counters.iter().flatten()) {
        let amounts = set.counters.iter().map(|(name, counter)| (name.clone(), amount(counter))).collect();
        if all.insert(set.name.clone(), amounts).is_some() {
            return None;
        }
    }
    Some(all)
}

fn are_known(slice: &ResourceSlice, counters: &Counters) -> bool {
    let consumed = devices(slice).iter().flat_map(|device| device.consumes_counters.iter().flatten());
    consumed.into_iter().all(|it| {
        counters
            .get(&it.counter_set)
            .is_some_and(|set| it.counters.keys().all(|counter| set.contains_key(counter)))
    })
}
