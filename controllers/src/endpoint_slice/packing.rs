//! Puts endpoints into slices with as few writes as can be, and then into as
//! few slices as those allow.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};

use super::slice::{Identity, labels, relabelled, same};

/// Endpoints in a slice, at most.
pub(crate) const LIMIT: usize = 100;

/// What is to be written.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New ones.
    pub(crate) create: Vec<EndpointSlice>,
    /// Existing ones that change.
    pub(crate) update: Vec<EndpointSlice>,
    /// Existing ones that go.
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
    /// Existing ones that stay as they are.
    pub(crate) unchanged: Vec<Arc<EndpointSlice>>,
}

impl Changes {
    /// Adds what `other` says.
    pub(crate) fn extend(&mut self, other: Changes) {
        self.create.extend(other.create);
        self.update.extend(other.update);
        self.delete.extend(other.delete);
        self.unchanged.extend(other.unchanged);
    }

    /// The endpoints that there will be.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let written = self.create.iter().chain(&self.update);
        let kept = self.unchanged.iter().map(|slice| &**slice);
        written.chain(kept).flat_map(|slice| slice.endpoints.iter().flatten())
    }

    /// A slice that would go becomes one that would be new: a write less.
    pub(crate) fn recycle(&mut self, may: impl Fn(&EndpointSlice, &EndpointSlice) -> bool) {
        let mut gone = Vec::new();
        for old in std::mem::take(&mut self.delete) {
            match self.create.pop_if(|new| may(&old, new)) {
                Some(new) => self.update.push(renamed(new, &old)),
                None => gone.push(old),
            }
        }
        self.delete = gone;
    }
}

/// `new` in the place of `old`.
fn renamed(mut new: EndpointSlice, old: &EndpointSlice) -> EndpointSlice {
    new.metadata.name.clone_from(&old.metadata.name);
    new.metadata.generate_name = None;
    new
}

/// Packs the endpoints of one address type and one set of ports. `fresh` is
/// an empty slice of that kind.
pub(crate) fn pack(
    service: &Service,
    manager: &str,
    existing: Vec<Arc<EndpointSlice>>,
    desired: Vec<Endpoint>,
    fresh: &EndpointSlice,
) -> Changes {
    let mut desired: BTreeMap<Identity, Endpoint> =
        desired.into_iter().map(|endpoint| (Identity::of(&endpoint), endpoint)).collect();
    let mut changes = Changes::default();
    for slice in existing {
        let (kept, updated) = keep(&slice, &mut desired);
        let shrunk = kept.len() != slice.endpoints.as_ref().map_or(0, Vec::len);
        if (updated || shrunk) && kept.is_empty() {
            changes.delete.push(slice);
        } else if updated || shrunk || relabelled(&slice, service) {
            let mut slice = EndpointSlice::clone(&slice);
            slice.endpoints = Some(kept);
            slice.metadata.labels = Some(labels(service, manager));
            changes.update.push(slice);
        } else {
            changes.unchanged.push(slice);
        }
    }
    let mut left = desired.into_values();
    // The fullest first. What is written anyway costs nothing more.
    changes.update.sort_by_key(|slice| std::cmp::Reverse(count(slice)));
    for slice in &mut changes.update {
        fill(slice, &mut left);
    }
    place(&mut changes, left, fresh);
    changes
}

/// What `slice` has of `desired`, which is taken out there, and whether any of it changed.
fn keep(slice: &EndpointSlice, desired: &mut BTreeMap<Identity, Endpoint>) -> (Vec<Endpoint>, bool) {
    let mut updated = false;
    let kept = slice.endpoints.iter().flatten().filter_map(|endpoint| {
        let wanted = desired.remove(&Identity::of(endpoint))?;
        updated |= !same(&wanted, endpoint);
        Some(wanted)
    });
    let kept = kept.collect();
    (kept, updated)
}

fn count(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn fill(slice: &mut EndpointSlice, left: &mut impl Iterator<Item = Endpoint>) {
    let room = LIMIT.saturating_sub(count(slice));
    slice.endpoints.get_or_insert_default().extend(left.take(room));
}

/// Places what is left: in full slices of its own, and the rest in the one
/// existing slice that becomes the fullest by it, or else in one more.
fn place(changes: &mut Changes, mut left: impl ExactSizeIterator<Item = Endpoint>, fresh: &EndpointSlice) {
    while left.len() > 0 {
        let count_left = left.len();
        let room = |slice: &Arc<EndpointSlice>| LIMIT.checked_sub(count(slice) + count_left);
        let fitting = changes.unchanged.iter().enumerate().filter_map(|(i, slice)| Some((room(slice)?, i)));
        let best = fitting.filter(|(room, _)| count_left < LIMIT && *room < LIMIT).min();
        let mut slice = match best {
            Some((_, index)) => EndpointSlice::clone(&changes.unchanged.remove(index)),
            None => fresh.clone(),
        };
        fill(&mut slice, &mut left);
        match best {
            Some(_) => changes.update.push(slice),
            None => changes.create.push(slice),
        }
    }
}
