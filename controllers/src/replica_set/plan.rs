//! What a ReplicaSet needs done.

use std::{cmp::Ordering, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

use super::ranking;
use crate::{
    framework::{Claim, Controller, claim, controls, matches},
    pod,
};

/// Pods created or deleted in one go.
const BURST: usize = 500;

/// A ReplicaSet and the pods around it.
pub(super) struct Observed {
    pub(super) set: Arc<ReplicaSet>,
    /// What its pods say of it.
    pub(super) reference: OwnerReference,
    /// Its pods and the namespace's pods that nobody controls.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The pods of all sets with the same owner.
    pub(super) related: Vec<Arc<Pod>>,
    /// All that was created and deleted before shows in `pods`.
    pub(super) settled: bool,
}

/// What to do; the fields in this order.
pub(super) struct Plan {
    pub(super) claims: Vec<(Claim, Arc<Pod>)>,
    pub(super) create: usize,
    pub(super) delete: Vec<Arc<Pod>>,
    /// The pods that count, adopted ones among them.
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) terminating: usize,
}

/// Decides what `observed` needs.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let set = &observed.set;
    let ending = set.metadata.deletion_timestamp.is_some();
    let controller = Controller { reference: &observed.reference, selector: &set.spec.selector, ending };
    let active = observed.pods.iter().filter(|p| pod::is_active(p)).cloned();
    let claims = claim(&controller, active, |_| true);
    let mut active = claims.owned;
    let terminating = observed
        .pods
        .iter()
        .filter(|p| pod::is_terminating(p) && controls(&set.metadata, &p.metadata))
        .filter(|p| matches(&set.spec.selector, p.metadata.labels.as_ref()))
        .count();

    let mut plan =
        Plan { claims: claims.changes, create: 0, delete: Vec::new(), active: Vec::new(), terminating };
    if observed.settled && !ending {
        let wanted = wanted(set);
        match active.len().cmp(&wanted) {
            Ordering::Less => plan.create = (wanted - active.len()).min(BURST),
            Ordering::Greater => {
                let surplus = (active.len() - wanted).min(BURST);
                if surplus < active.len() {
                    ranking::sort(&mut active, &observed.related, now);
                }
                plan.delete = active.iter().take(surplus).cloned().collect();
            }
            Ordering::Equal => {}
        }
    }
    plan.active = active;
    plan
}

/// How many pods `set` asks for.
pub(super) fn wanted(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}
