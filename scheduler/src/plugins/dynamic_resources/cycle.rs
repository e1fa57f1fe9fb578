//! The claims of a pod, as one scheduling cycle sees them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use coracle_controllers::{
    devices::{self, is_allocated},
    framework::{Clock, Key},
    node_selector::Selection,
};
use k8s_openapi::{
    api::{
        core::v1::{ContainerExtendedResourceRequest, Node},
        resource::v1::{AllocatedDeviceStatus, AllocationResult, ResourceClaim},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use parking_lot::Mutex;

use super::{
    Args,
    allocator::{Inventory, Unallocated},
    extended::{self, is_unmade},
};
use crate::{cache::NodeInfo, objects::Objects, plugin::Rejection, pod::PodInfo};

/// The best that a request with alternatives can give to the score.
const ALTERNATIVES: usize = 8;

/// What is worked out before nodes are looked at.
pub(super) struct Cycle {
    /// The pod's claims; the one for its extended resources is last.
    pub(super) claims: Vec<Arc<ResourceClaim>>,
    /// Whether the last is that.
    pub(super) has_extended: bool,
    /// Where the devices of each can be reached.
    places: Vec<Option<Selection>>,
    /// From what the others are allocated, when there are any.
    inventory: Option<Inventory>,
    looked: Mutex<Looked>,
}

/// What looking at nodes has found.
#[derive(Default)]
struct Looked {
    found: HashMap<String, Arc<Found>>,
    /// Claims with devices that some node cannot reach.
    unreachable: BTreeSet<usize>,
}

/// What the claims of a pod get on a node.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// For those without devices, in their order.
    pub(super) allocations: Vec<AllocationResult>,
    /// The claim for extended resources, with what it asks for.
    pub(super) extended: Option<Arc<ResourceClaim>>,
    /// Which request of it serves which container.
    pub(super) mappings: Vec<ContainerExtendedResourceRequest>,
}

/// The claims that a pod names.
/// # Errors
/// One is not there, or not the pod's: upstream's text.
pub(super) fn claims_of(objects: &Objects, pod: &PodInfo) -> Result<Vec<Arc<ResourceClaim>>, String> {
    let namespace = pod.pod.metadata.namespace.clone().unwrap_or_default();
    let mut claims = Vec::new();
    for asked in devices::asked(&pod.pod) {
        let Some(named) = devices::named(&pod.pod, asked)? else { continue };
        let key = Key::namespaced(namespace.clone(), named.name);
        let claim = objects.ledger.get(&objects.resource_claims, &key);
        let claim = claim.ok_or_else(|| format!("could not find v1.ResourceClaim \"{key}\""))?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {:?} is being deleted", named.name));
        }
        if named.owned {
            devices::is_for(&pod.pod, &claim)?;
        }
        claims.push(claim);
    }
    Ok(claims)
}

impl Cycle {
    /// Looks at the claims of a pod; none when it has none.
    /// # Errors
    /// The pod cannot be anywhere yet.
    pub(super) fn begin(
        objects: &Objects,
        pod: &PodInfo,
        inventory: impl FnOnce() -> Inventory,
    ) -> Result<Option<Self>, Rejection> {
        let mut claims = claims_of(objects, pod).map_err(Rejection::unresolvable)?;
        let has_extended = extended::concerns(&objects.device_classes, pod);
        if has_extended {
            let made = objects.ledger.extended(&objects.resource_claims, &pod.pod);
            claims.push(made.unwrap_or_else(|| Arc::new(extended::unmade(pod))));
        }
        if claims.is_empty() {
            return Ok(None);
        }
        let (mut places, mut lacking) = (Vec::new(), false);
        for (at, claim) in claims.iter().enumerate() {
            let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
            places.push(allocation.and_then(|it| it.node_selector.as_ref()).map(Selection::of));
            if allocation.is_some() {
                continue;
            }
            lacking = true;
            let uid = claim.metadata.uid.as_deref().unwrap_or_default();
            if objects.ledger.is_meant(uid) {
                let key = Key::of(&claim.metadata);
                let why = format!("resource claim {key} is in the process of being allocated");
                return Err(Rejection::unresolvable(why));
            }
            if !(has_extended && at + 1 == claims.len()) {
                check_classes(objects, claim)?;
            }
        }
        let inventory = lacking.then(inventory);
        Ok(Some(Self { claims, has_extended, places, inventory, looked: Mutex::default() }))
    }

    /// The claim for extended resources.
    pub(super) fn extended(&self) -> Option<&Arc<ResourceClaim>> {
        self.claims.last().filter(|_| self.has_extended)
    }

    fn is_extended(&self, at: usize) -> bool {
        self.has_extended && at + 1 == self.claims.len()
    }

    /// Whether the claims can all be had on a node.
    /// # Errors
    /// They cannot.
    pub(super) fn look(
        &self,
        objects: &Objects,
        args: &Args,
        pod: &PodInfo,
        info: &NodeInfo,
    ) -> Result<(), Rejection> {
        let Some(node) = &info.node else { return Ok(()) };
        let (extended, mappings) = match self.extended() {
            Some(claim) => match extended_on(objects, self, claim, pod, info)? {
                Extended::Unneeded => return Ok(()),
                Extended::As(extended, mappings) => (extended, mappings),
            },
            None => (None, Vec::new()),
        };
        let unreachable: Vec<usize> =
            (0..self.claims.len()).filter(|at| !self.is_reachable(*at, node, args, &objects.clock)).collect();
        let allocations = match &self.inventory {
            Some(inventory) => self.allocate(inventory, args, node, extended.as_ref())?,
            None => Vec::new(),
        };
        let mut looked = self.looked.lock();
        if !unreachable.is_empty() {
            looked.unreachable.extend(unreachable);
            return Err(Rejection::unresolvable("resourceclaim not available on the node"));
        }
        if self.inventory.is_some() {
            let found = Found { allocations, extended, mappings };
            looked.found.insert(info.name().to_owned(), Arc::new(found));
        }
        Ok(())
    }

    fn is_reachable(&self, at: usize, node: &Node, args: &Args, clock: &Clock) -> bool {
        let Some(claim) = self.claims.get(at) else { return true };
        if self.places.get(at).and_then(Option::as_ref).is_some_and(|place| !place.matches(node)) {
            return false;
        }
        !is_allocated(claim)
            || match readiness(claim) {
                Readiness::Ready => true,
                Readiness::Failed(_) => false,
                Readiness::Waits => !is_late(claim, args, clock),
            }
    }

    fn allocate(
        &self,
        inventory: &Inventory,
        args: &Args,
        node: &Node,
        extended: Option<&Arc<ResourceClaim>>,
    ) -> Result<Vec<AllocationResult>, Rejection> {
        let lacking = self.lacking().map(|(at, claim)| match extended {
            Some(extended) if self.is_extended(at) => extended.clone(),
            _ => claim.clone(),
        });
        let lacking: Vec<Arc<ResourceClaim>> = lacking.collect();
        let limit = args.filter_timeout.limit();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        inventory.allocate(node, &lacking, deadline).map_err(|why| match why {
            Unallocated::Lacking => Rejection::unresolvable("cannot allocate all claims"),
            Unallocated::InvalidPools => Rejection::unresolvable("invalid resource pools were encountered"),
            Unallocated::Late => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                Rejection::failed(format!("node {name}: timed out trying to allocate devices"))
            }
            Unallocated::Failed(why) => Rejection::failed(why),
        })
    }

    /// The claims without devices, with their places.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (usize, &Arc<ResourceClaim>)> {
        self.claims.iter().enumerate().filter(|(_, claim)| !is_allocated(claim))
    }

    /// What was found for a node.
    pub(super) fn found(&self, node: &str) -> Option<Arc<Found>> {
        self.looked.lock().found.get(node).cloned()
    }

    /// How good what was found for a node is: by how early alternatives come
    /// that were chosen.
    pub(super) fn score(&self, node: &str) -> i64 {
        let Some(found) = self.found(node) else { return 0 };
        let mut allocations = found.allocations.iter();
        let mut score = 0;
        for claim in &self.claims {
            let own = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
            let Some(allocation) = own.or_else(|| allocations.next()) else { return score };
            let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
            let met: BTreeSet<&str> = results.map(|result| result.request.as_str()).collect();
            for request in devices::requests(claim).iter().filter(|request| request.exactly.is_none()) {
                for (at, it) in request.first_available.iter().flatten().enumerate() {
                    if met.contains(format!("{}/{}", request.name, it.name).as_str()) {
                        score += i64::try_from(ALTERNATIVES.saturating_sub(at)).unwrap_or(0);
                    }
                }
            }
        }
        score
    }

    /// A claim whose devices are of no use where they are, and that nobody
    /// else has: without them there may be others.
    pub(super) fn useless(&self, pod: &PodInfo) -> Option<Arc<ResourceClaim>> {
        let unreachable = self.looked.lock().unreachable.clone();
        for claim in
            unreachable.iter().filter(|at| !self.is_extended(**at)).filter_map(|at| self.claims.get(*at))
        {
            let consumers = claim.status.as_ref().and_then(|status| status.reserved_for.as_deref());
            if consumers.unwrap_or_default().iter().all(|consumer| consumer.uid == pod.uid) {
                return Some(claim.clone());
            }
        }
        self.extended().filter(|claim| !is_unmade(claim)).cloned()
    }
}

fn check_classes(objects: &Objects, claim: &ResourceClaim) -> Result<(), Rejection> {
    for request in devices::requests(claim) {
        let mut classes = Vec::new();
        classes.extend(request.exactly.iter().map(|it| (request.name.clone(), &it.device_class_name)));
        if classes.is_empty() {
            let alternatives = request.first_available.iter().flatten();
            classes.extend(
                alternatives.map(|it| (format!("{}/{}", request.name, it.name), &it.device_class_name)),
            );
        }
        if classes.is_empty() {
            let (key, name) = (Key::of(&claim.metadata), &request.name);
            let why = format!("resource claim {key}, request {name}: unknown request type");
            return Err(Rejection::unresolvable(why));
        }
        for (name, class) in classes {
            if class.is_empty() {
                return Err(Rejection::failed(format!("request {name}: unsupported request type")));
            }
            if objects.device_classes.get(&Key::cluster(class)).is_none() {
                let why = format!("request {name}: device class {class} does not exist");
                return Err(Rejection::unresolvable(why));
            }
        }
    }
    Ok(())
}

/// What becomes of the claim for extended resources on a node.
enum Extended {
    /// The pod needs no devices there at all.
    Unneeded,
    As(Option<Arc<ResourceClaim>>, Vec<ContainerExtendedResourceRequest>),
}

fn extended_on(
    objects: &Objects,
    cycle: &Cycle,
    claim: &Arc<ResourceClaim>,
    pod: &PodInfo,
    info: &NodeInfo,
) -> Result<Extended, Rejection> {
    if !devices::requests(claim).is_empty() {
        // Left over from a pod's earlier try, for a node that may be another.
        return Err(Rejection::unresolvable("cannot schedule extended resource claim"));
    }
    let classes = extended::by_devices(&objects.device_classes, pod, &info.allocatable)
        .map_err(Rejection::unresolvable)?;
    if classes.is_empty() && cycle.claims.len() == 1 {
        return Ok(Extended::Unneeded);
    }
    let (claim, mappings) = extended::claim(claim, pod, &classes);
    Ok(Extended::As(Some(Arc::new(claim)), mappings))
}

/// Whether the devices of a claim are ready for the pod to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Waits,
    /// They will not be: upstream's text.
    Failed(String),
}

/// Looks at what drivers say of the devices of a claim.
pub(super) fn readiness(claim: &ResourceClaim) -> Readiness {
    if !is_allocated(claim) {
        return Readiness::Waits;
    }
    for result in devices::results(claim) {
        let wanted = result.binding_conditions.as_deref().unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let statuses = claim.status.iter().flat_map(|status| status.devices.iter().flatten());
        let is_its = |it: &&AllocatedDeviceStatus| {
            (&it.driver, &it.pool, &it.device) == (&result.driver, &result.pool, &result.device)
        };
        let Some(status) = statuses.into_iter().find(is_its) else { return Readiness::Waits };
        let holds = |name: &String| -> Option<&Condition> {
            status.conditions.iter().flatten().find(|it| it.type_ == *name && it.status == "True")
        };
        if let Some(failed) = result.binding_failure_conditions.iter().flatten().find_map(holds) {
            return Readiness::Failed(format!(
                "device binding failed: claim={}, reason={}, message={:?}",
                Key::of(&claim.metadata).name,
                failed.reason,
                failed.message
            ));
        }
        if !wanted.iter().all(|name| holds(name).is_some()) {
            return Readiness::Waits;
        }
    }
    Readiness::Ready
}

/// Whether the claim's devices have had long enough to get ready.
pub(super) fn is_late(claim: &ResourceClaim, args: &Args, clock: &Clock) -> bool {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let since = allocation.and_then(|allocation| allocation.allocation_timestamp.as_ref());
    let waits = devices::results(claim).iter().any(|result| result.binding_conditions.is_some());
    let limit = i64::try_from(args.binding_timeout.0.as_secs()).unwrap_or(i64::MAX);
    waits && since.is_some_and(|since| clock.now().as_second().saturating_sub(since.0.as_second()) > limit)
}
