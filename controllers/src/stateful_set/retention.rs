//! Who owns a claim, so that it goes when the set's policy says so: the set,
//! the pod that is scaled away, or nobody.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;

use super::identity;
use crate::framework::controller_reference;

/// What the set says of its claims.
#[derive(Clone, Copy)]
struct Policy {
    delete_when_deleted: bool,
    delete_when_scaled: bool,
}

fn policy(set: &StatefulSet) -> Policy {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |what: Option<&String>| what.is_some_and(|what| what == "Delete");
    Policy {
        delete_when_deleted: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
        delete_when_scaled: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
    }
}

fn owners(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &OwnerReference> {
    claim.metadata.owner_references.iter().flatten()
}

/// True when `reference` names `owner`, be it this one or an earlier one.
fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, owner: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && Some(&reference.name) == owner.meta().name.as_ref()
}

fn is_of(reference: &OwnerReference, owner: &ObjectMeta) -> bool {
    Some(reference.uid.as_str()) == owner.uid.as_deref()
}

fn is_owned(claim: &PersistentVolumeClaim, owner: &ObjectMeta) -> bool {
    owners(claim).any(|reference| is_of(reference, owner))
}

fn is_stale<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, owner: &K) -> bool {
    owners(claim).find(|it| names(it, owner)).is_some_and(|it| !is_of(it, owner.meta()))
}

/// True when an earlier pod of the same name still owns `claim`, which is
/// going to go with it.
pub(super) fn waits_for_earlier(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    policy(set).delete_when_scaled && is_stale(claim, pod)
}

/// True when another controller owns `claim`, so that the policy cannot hold.
pub(super) fn is_contested(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let policy = policy(set);
    (policy.delete_when_deleted || policy.delete_when_scaled)
        && owners(claim).any(|reference| {
            if names(reference, set) {
                !is_of(reference, &set.metadata)
            } else if names(reference, pod) {
                !is_of(reference, &pod.metadata)
            } else {
                reference.controller == Some(true)
            }
        })
}

/// Who of the two is to own the claim: the set, the pod.
fn intended(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let policy = policy(set);
    let scaled_away = identity::ordinal(pod).is_none_or(|ordinal| !identity::in_range(set, ordinal));
    let by_pod = policy.delete_when_scaled && scaled_away;
    (policy.delete_when_deleted && !by_pod, by_pod)
}

/// True when the owners of `claim` are as the policy says, or when it is not
/// this set's to change them.
pub(super) fn is_met(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    if is_stale(claim, set) || is_stale(claim, pod) {
        return true;
    }
    let owned = (is_owned(claim, &set.metadata), is_owned(claim, &pod.metadata));
    if is_contested(set, claim, pod) {
        return owned == (false, false);
    }
    let ours = |it: &&OwnerReference| is_of(it, &set.metadata) || is_of(it, &pod.metadata);
    if owners(claim).filter(ours).any(|it| it.controller != Some(true)) {
        return false;
    }
    owned == intended(set, pod)
}

/// `claim` with the owners that the policy says.
pub(super) fn met(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> PersistentVolumeClaim {
    let mut met = claim.clone();
    let mut owners = met.metadata.owner_references.take().unwrap_or_default();
    owners.retain(|it| !names(it, set) && !names(it, pod));
    if !is_contested(set, claim, pod) {
        let (by_set, by_pod) = intended(set, pod);
        if by_set {
            owners.push(controller_reference(set));
        }
        if by_pod {
            owners.push(controller_reference(pod));
        }
    }
    met.metadata.owner_references = Some(owners);
    met
}
