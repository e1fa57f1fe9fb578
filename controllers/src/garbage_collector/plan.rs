//! What becomes of one object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, ORPHAN};

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Present,
    /// It is not.
    Absent,
    /// It is being deleted, after its dependents.
    Waiting,
}

/// What is to be done with an object.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing.
    Keep,
    /// It keeps only these owners.
    Disown(Vec<OwnerReference>),
    /// It goes; before that, its references stop holding owners up when
    /// owners and dependents wait for each other.
    Delete { policy: PropagationPolicy, unblock: bool },
}

/// Decides for the object with the metadata `live`.
///
/// `owners` stand in the order of its references; `dependents` are the
/// objects that name it, true for each that waits for its own dependents.
pub(super) fn plan(live: &ObjectMeta, owners: &[Owner], dependents: &[bool]) -> Plan {
    let references = live.owner_references.as_deref().unwrap_or_default();
    let is = |wanted: Owner| owners.contains(&wanted);
    if references.is_empty() || owners.len() != references.len() {
        return Plan::Keep;
    }
    if is(Owner::Present) {
        let kept: Vec<OwnerReference> = references
            .iter()
            .zip(owners)
            .filter(|(_, owner)| **owner == Owner::Present)
            .map(|(reference, _)| reference.clone())
            .collect();
        return if kept.len() == references.len() { Plan::Keep } else { Plan::Disown(kept) };
    }
    if is(Owner::Waiting) && !dependents.is_empty() {
        let unblock = dependents.contains(&true);
        return Plan::Delete { policy: PropagationPolicy::Foreground, unblock };
    }
    // What the object asks for itself goes before the default.
    let has = |finalizer: &str| live.finalizers.iter().flatten().any(|f| f == finalizer);
    let policy = if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Plan::Delete { policy, unblock: false }
}
