//! Claims as they are, where the API does not show it yet: what was decided
//! for a claim and is being written, and what was written and not seen.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use coracle_controllers::{
    devices::{EXTENDED, is_allocated},
    framework::{Key, Store, controls},
};
use k8s_openapi::api::{core::v1::Pod, resource::v1::ResourceClaim};
use parking_lot::Mutex;

/// One for all profiles of a scheduler: they give out the same devices.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    /// By uid: with the devices that they are about to get.
    meant: HashMap<String, Arc<ResourceClaim>>,
    /// As the API answered.
    written: HashMap<Key, Written>,
}

struct Written {
    claim: Arc<ResourceClaim>,
    revision: u64,
    lists_begun: u64,
}

impl Written {
    fn is_seen(&self, claims: &Store<ResourceClaim>) -> bool {
        claims.has_seen(self.revision, self.lists_begun)
    }
}

impl Ledger {
    /// The claim as it is.
    pub(super) fn get(&self, claims: &Store<ResourceClaim>, key: &Key) -> Option<Arc<ResourceClaim>> {
        let mut state = self.0.lock();
        if let Some(written) = state.written.get(key) {
            if !written.is_seen(claims) {
                return Some(written.claim.clone());
            }
            state.written.remove(key);
        }
        drop(state);
        claims.get(key)
    }

    /// The claim that was made for a pod's extended resources.
    pub(super) fn extended(&self, claims: &Store<ResourceClaim>, pod: &Pod) -> Option<Arc<ResourceClaim>> {
        let is_its = |claim: &Arc<ResourceClaim>| {
            let annotations = claim.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(EXTENDED)).is_some_and(|value| value == "true")
                && controls(&pod.metadata, &claim.metadata)
        };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let known = claims.controlled_by(uid).into_iter().find(is_its);
        let written = || {
            let state = self.0.lock();
            let unseen = state.written.values().filter(|written| !written.is_seen(claims));
            unseen.map(|written| written.claim.clone()).find(is_its)
        };
        let found = known.or_else(written)?;
        self.get(claims, &Key::of(&found.metadata))
    }

    /// Devices are decided on for a claim; it shows them.
    pub(super) fn mean(&self, claim: Arc<ResourceClaim>) {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        self.0.lock().meant.insert(uid, claim);
    }

    /// Whether devices are being written into the claim with this uid.
    pub(super) fn is_meant(&self, uid: &str) -> bool {
        self.0.lock().meant.contains_key(uid)
    }

    /// The decision is written, or does not stand any more.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().meant.remove(uid);
    }

    /// The API has taken a claim as this.
    pub(super) fn wrote(&self, claims: &Store<ResourceClaim>, claim: Arc<ResourceClaim>) {
        let revision = claim.metadata.resource_version.as_deref().and_then(|it| it.parse().ok()).unwrap_or(0);
        let written = Written { revision, lists_begun: claims.lists_begun(), claim };
        if !written.is_seen(claims) {
            self.0.lock().written.insert(Key::of(&written.claim.metadata), written);
        }
    }

    /// The claims that have other devices than the store shows.
    pub(super) fn pending(&self, claims: &Store<ResourceClaim>) -> Vec<Arc<ResourceClaim>> {
        let mut state = self.0.lock();
        state.written.retain(|_, written| !written.is_seen(claims));
        let mut pending: BTreeMap<&str, &Arc<ResourceClaim>> = BTreeMap::new();
        pending.extend(state.meant.iter().map(|(uid, claim)| (uid.as_str(), claim)));
        for written in state.written.values().filter(|written| is_allocated(&written.claim)) {
            pending.insert(written.claim.metadata.uid.as_deref().unwrap_or_default(), &written.claim);
        }
        pending.into_values().cloned().collect()
    }
}
