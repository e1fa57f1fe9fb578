//! What becomes of a claim.

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
};

use crate::{
    devices::{FINALIZER, is_allocated},
    pod::{is_terminal, node},
};

/// What is to be done with a claim, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The claim with the status that it is to have.
    pub(super) status: Option<ResourceClaim>,
    /// After that it has no devices any more and is let go.
    pub(super) unbind: bool,
    /// The claim to be written without what keeps it from going.
    pub(super) release: Option<ResourceClaim>,
    /// It goes, as the pod that it was made for does not need it.
    pub(super) delete: bool,
}

/// Whether a pod uses no claims any more.
pub(super) fn is_done(pod: &Pod) -> bool {
    is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && node(pod).is_none())
}

fn is_kept(claim: &ResourceClaim) -> bool {
    claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// The claim without what keeps it from going.
pub(super) fn unfinalized(mut claim: ResourceClaim) -> ResourceClaim {
    claim.metadata.finalizers.iter_mut().for_each(|all| all.retain(|finalizer| finalizer != FINALIZER));
    claim
}

/// What to do with a claim that only `remaining` still use. `unneeded` when it
/// was made for a pod that is done.
pub(super) fn plan(
    claim: &ResourceClaim,
    remaining: Vec<ResourceClaimConsumerReference>,
    unneeded: bool,
) -> Plan {
    let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_ref()).map_or(0, Vec::len);
    let free = remaining.is_empty();
    let deleting = claim.metadata.deletion_timestamp.is_some();
    let mut plan = Plan { delete: free && unneeded && !deleting, ..Plan::default() };
    let freed = is_kept(claim) && free && (remaining.len() < reserved || deleting);
    if remaining.len() < reserved || (freed && is_allocated(claim)) {
        let mut claim = claim.clone();
        let status = claim.status.get_or_insert_default();
        status.reserved_for = Some(remaining).filter(|remaining| !remaining.is_empty());
        if freed {
            status.allocation = None;
        }
        plan.unbind = freed;
        plan.status = Some(claim);
    } else if freed {
        plan.release = Some(unfinalized(claim.clone()));
    }
    plan
}
