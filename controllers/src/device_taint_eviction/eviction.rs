//! When a pod must go because of its devices.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{
        Device, DeviceRequestAllocationResult, DeviceTaint, DeviceTaintRule, ResourceClaim, ResourceSlice,
    },
};

use crate::{
    devices::{bears, claims, is_for, is_reserved_for, results, taints},
    framework::{Key, Store},
    pod::node,
};

/// The name of the index of claims by their devices.
pub(super) const BY_DEVICE: &str = "device";
/// The name of the index of slices by pool.
pub(super) const BY_POOL: &str = "pool";
const NO_EXECUTE: &str = "NoExecute";

/// The values of the index [`BY_DEVICE`].
pub(super) fn device_keys(claim: &ResourceClaim) -> Vec<String> {
    let keys = results(claim).iter().map(|it| format!("{}/{}/{}", it.driver, it.pool, it.device));
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The values of the index [`BY_POOL`].
pub(super) fn pool_keys(slice: &ResourceSlice) -> Vec<String> {
    vec![format!("{}/{}", slice.spec.driver, slice.spec.pool.name)]
}

/// Whether a taint drives pods away.
pub(super) fn drives_away(taint: &DeviceTaint) -> bool {
    taint.effect == NO_EXECUTE
}

/// A rule because of which a pod goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) uid: String,
}

/// When a pod must go, and because of which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) rules: BTreeSet<Rule>,
}

impl Due {
    fn and(self, other: Self) -> Self {
        Self { at: self.at.min(other.at), rules: &self.rules | &other.rules }
    }
}

/// What decides when pods must go.
pub(super) struct World<'a> {
    pub(super) claims: &'a Store<ResourceClaim>,
    pub(super) slices: &'a Store<ResourceSlice>,
    /// Those that drive pods away.
    pub(super) rules: Vec<Arc<DeviceTaintRule>>,
}

impl World<'_> {
    /// When `pod` must go, if it must.
    pub(super) fn due(&self, pod: &Pod) -> Option<Due> {
        node(pod)?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let own = claims(pod).into_iter().filter_map(|named| {
            let claim = self.claims.get(&Key::namespaced(namespace, named.name))?;
            let is_its = !named.owned || is_for(pod, &claim).is_ok();
            (is_its && is_reserved_for(&claim, uid)).then_some(claim)
        });
        own.filter_map(|claim| self.due_of(&claim)).reduce(Due::and)
    }

    /// When users of the claim must go.
    fn due_of(&self, claim: &ResourceClaim) -> Option<Due> {
        results(claim).iter().filter_map(|device| self.due_for(device)).reduce(Due::and)
    }

    fn due_for(&self, result: &DeviceRequestAllocationResult) -> Option<Due> {
        let (driver, pool, name) = (&result.driver, &result.pool, &result.device);
        let published = self.device(driver, pool, name);
        let published = published.iter().flat_map(|(slice, at)| {
            let device = slice.spec.devices.as_deref().and_then(|devices| devices.get(*at));
            device.into_iter().flat_map(|device: &Device| device.taints.iter().flatten())
        });
        let own = published.filter(|taint| drives_away(taint)).filter_map(|taint| {
            let at = goes_at(result, taint)?;
            Some(Due { at, rules: BTreeSet::new() })
        });
        let ruled = self.rules.iter().filter(|rule| taints(rule, driver, pool, name)).filter_map(|rule| {
            let at = goes_at(result, &rule.spec.taint)?;
            let name = rule.metadata.name.clone().unwrap_or_default();
            let uid = rule.metadata.uid.clone().unwrap_or_default();
            Some(Due { at, rules: BTreeSet::from([Rule { name, uid }]) })
        });
        own.chain(ruled).reduce(Due::and)
    }

    /// The slice that has the device now, and its place there.
    fn device(&self, driver: &str, pool: &str, name: &str) -> Option<(Arc<ResourceSlice>, usize)> {
        newest(self.slices.indexed(BY_POOL, &format!("{driver}/{pool}"))).into_iter().find_map(|slice| {
            let at = slice.spec.devices.iter().flatten().position(|device| device.name == name)?;
            Some((slice, at))
        })
    }
}

/// Of the slices of a pool those that count: of the newest generation.
pub(super) fn newest(slices: Vec<Arc<ResourceSlice>>) -> Vec<Arc<ResourceSlice>> {
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
    slices.into_iter().filter(|slice| Some(slice.spec.pool.generation) == newest).collect()
}

/// When users of a device must go because of a taint; never when it is
/// tolerated for ever.
fn goes_at(result: &DeviceRequestAllocationResult, taint: &DeviceTaint) -> Option<Timestamp> {
    let since = taint.time_added.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut shortest: Option<i64> = None;
    for toleration in result.tolerations.iter().flatten() {
        if toleration.effect.as_deref() == Some(NO_EXECUTE) && bears(toleration, taint) {
            let seconds = toleration.toleration_seconds?.max(0);
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    let stay = SignedDuration::from_secs(shortest.unwrap_or(0));
    Some(since.checked_add(stay).unwrap_or(Timestamp::MAX))
}
