//! Which devices are in use: what claims have, and what they are about to get.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use coracle_api::Quantity;
use coracle_controllers::{devices::results, framework::Store};
use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};

/// The name of the index of claims by the devices that they have.
pub(crate) const BY_DEVICE: &str = "scheduler/device";

/// The values of the index [`BY_DEVICE`]. Who only looks after a device does
/// not use it.
pub(crate) fn used(claim: &ResourceClaim) -> Vec<String> {
    let names: BTreeSet<String> = results(claim).iter().filter(|it| counts(it)).map(id_of).collect();
    names.into_iter().collect()
}

fn counts(result: &DeviceRequestAllocationResult) -> bool {
    result.admin_access != Some(true)
}

fn id_of(result: &DeviceRequestAllocationResult) -> String {
    id(&result.driver, &result.pool, &result.device)
}

/// How a device is called in the index and in messages.
pub(super) fn id(driver: &str, pool: &str, device: &str) -> String {
    format!("{driver}/{pool}/{device}")
}

/// How a device is used.
#[derive(Debug, Clone, Default)]
pub(super) struct Use {
    /// Somebody has it alone.
    pub(super) alone: bool,
    /// Some share it.
    pub(super) shared: bool,
    /// What they take of its capacities together.
    pub(super) taken: BTreeMap<String, Quantity>,
}

impl Use {
    /// Whether anybody has the device.
    pub(super) fn any(&self) -> bool {
        self.alone || self.shared
    }

    fn add(&mut self, result: &DeviceRequestAllocationResult) {
        if result.share_id.is_none() {
            self.alone = true;
            return;
        }
        self.shared = true;
        for (name, amount) in result.consumed_capacity.iter().flatten() {
            let amount = Quantity::parse(&amount.0).unwrap_or_default();
            let sum = self.taken.entry(name.clone()).or_default();
            *sum = sum.plus(&amount);
        }
    }
}

/// The devices in use as of one moment.
pub(super) struct Uses {
    claims: Arc<Store<ResourceClaim>>,
    /// By device: the claims that the store does not show as they are.
    pending: HashMap<String, Vec<Arc<ResourceClaim>>>,
    /// Their uids: what the store shows of them does not count.
    overridden: BTreeSet<String>,
}

impl Uses {
    /// What `claims` have, but for those in `pending`, which have what they
    /// say themselves.
    pub(super) fn new(claims: Arc<Store<ResourceClaim>>, pending: Vec<Arc<ResourceClaim>>) -> Self {
        let mut by_device: HashMap<String, Vec<Arc<ResourceClaim>>> = HashMap::new();
        let mut overridden = BTreeSet::new();
        for claim in pending {
            overridden.extend(claim.metadata.uid.clone());
            for device in used(&claim) {
                by_device.entry(device).or_default().push(claim.clone());
            }
        }
        Self { claims, pending: by_device, overridden }
    }

    /// How the device called `id` is used.
    pub(super) fn of(&self, id: &str) -> Use {
        let mut used = Use::default();
        let pending = self.pending.get(id).map(Vec::as_slice).unwrap_or_default();
        if pending.is_empty() && self.claims.count_indexed(BY_DEVICE, id) == 0 {
            return used;
        }
        let known = self.claims.indexed(BY_DEVICE, id);
        let known = known
            .iter()
            .filter(|claim| claim.metadata.uid.as_ref().is_none_or(|uid| !self.overridden.contains(uid)));
        for claim in known.chain(pending) {
            results(claim).iter().filter(|it| counts(it) && id_of(it) == id).for_each(|it| used.add(it));
        }
        used
    }
}
