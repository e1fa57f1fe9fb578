//! Which devices claims get on a node. Pure.
//!
//! Start at [`Inventory::allocate`]: it reads the requests of the claims
//! (`request`), tries devices in the order of pools, slices and devices until
//! all requests have theirs (`search`), and tells what each claim gets
//! (`outcome`). The first choice that works is taken; it goes back as far as
//! it must, so that it finds one where there is one.

mod constraint;
mod counters;
mod outcome;
mod request;
mod search;
#[cfg(test)]
mod tests;

use std::{sync::Arc, thread, time::Instant};

use coracle_controllers::{
    devices::wanted,
    framework::{Key, Store},
};
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{AllocationResult, DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice},
};

use super::{
    pools::{self, State},
    selector::Environment,
    uses::Uses,
};
use constraint::Constraint;
use request::Asked;
use search::{Search, Stop, Wanted};

/// The most devices that a claim may get.
pub(super) const MOST: usize = 32;
/// So many steps of a search fit on any stack.
const SHALLOW: usize = 48;
const STACK: usize = 64 << 20;

/// What claims are allocated from, as of one moment.
pub(super) struct Inventory {
    pub(super) slices: Arc<Store<ResourceSlice>>,
    pub(super) classes: Arc<Store<DeviceClass>>,
    pub(super) rules: Vec<Arc<DeviceTaintRule>>,
    pub(super) uses: Uses,
    pub(super) environment: Arc<Environment>,
}

/// Why claims cannot be allocated on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unallocated {
    /// The devices do not suffice.
    Lacking,
    /// Neither do they without the pools that are invalid.
    InvalidPools,
    /// It took too long.
    Late,
    /// Something that is said of devices or claims is wrong.
    Failed(String),
}

impl Inventory {
    /// What each of `claims` gets on `node`.
    /// # Errors
    /// They cannot all be had there, or that was not found out by `deadline`.
    pub(super) fn allocate(
        &self,
        node: &Node,
        claims: &[Arc<ResourceClaim>],
        deadline: Option<Instant>,
    ) -> Result<Vec<AllocationResult>, Unallocated> {
        let find = || self.find(node, claims, deadline);
        if claims.iter().map(|claim| request::steps(claim)).sum::<usize>() <= SHALLOW {
            return find();
        }
        // Each step of a search is a call deeper.
        let apart = thread::scope(|scope| {
            let started = thread::Builder::new()
                .name("allocator".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, find);
            started.ok()?.join().ok()
        });
        apart.unwrap_or_else(|| Err(Unallocated::Failed("devices could not be looked for".to_owned())))
    }

    fn find(
        &self,
        node: &Node,
        claims: &[Arc<ResourceClaim>],
        deadline: Option<Instant>,
    ) -> Result<Vec<AllocationResult>, Unallocated> {
        let pools = pools::of_node(&self.slices, node);
        let mut search = Search::new(self, node, &pools, deadline);
        for claim in claims {
            let wanted = self.wanted(claim).map_err(Unallocated::Failed)?;
            search.want(wanted).map_err(unallocated)?;
        }
        match search.run() {
            Ok(true) => search
                .wanted
                .iter()
                .map(|wanted| outcome::of(wanted, &search.candidates, node).map_err(Unallocated::Failed))
                .collect(),
            Ok(false) if pools.iter().any(|pool| pool.state == State::Invalid) => {
                Err(Unallocated::InvalidPools)
            }
            Ok(false) => Err(Unallocated::Lacking),
            Err(stop) => Err(unallocated(stop)),
        }
    }

    fn wanted<'a>(&self, claim: &'a ResourceClaim) -> Result<Wanted<'a>, String> {
        let key = Key::of(&claim.metadata).to_string();
        let devices = wanted(claim);
        let requests = devices.and_then(|devices| devices.requests.as_deref()).unwrap_or_default();
        let asked = requests.iter().map(|request| Asked::read(&key, request, &self.classes));
        let asked: Vec<Asked<'a>> = asked.collect::<Result<_, _>>()?;
        let constraints = devices.and_then(|devices| devices.constraints.as_deref()).unwrap_or_default();
        let constraints = constraints.iter().enumerate().map(|(at, constraint)| {
            Constraint::read(constraint).ok_or_else(|| {
                format!("claim {key}, constraint #{at}: empty constraint (unsupported constraint type?)")
            })
        });
        let constraints = constraints.collect::<Result<_, _>>()?;
        Ok(Wanted { claim, key, asked, constraints, results: Vec::new() })
    }
}

fn unallocated(stop: Stop) -> Unallocated {
    match stop {
        Stop::TooMany => Unallocated::Failed("allocation max size exceeded".to_owned()),
        Stop::Late => Unallocated::Late,
        Stop::Failed(why) => Unallocated::Failed(why),
    }
}
