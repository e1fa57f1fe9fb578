//! Who owns the claims of a set's pods: that decides when they are deleted.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;

use super::replica;
use crate::framework::controller_reference;

fn deletes(policy: Option<&String>) -> bool {
    policy.is_some_and(|policy| policy == "Delete")
}

fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let of = |get: fn(&_) -> &Option<String>| deletes(policy.and_then(|policy| get(policy).as_ref()));
    (
        of(|it: &k8s_openapi::api::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy| {
            &it.when_deleted
        }),
        of(|it| &it.when_scaled),
    )
}

fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && Some(&reference.name) == object.meta().name.as_ref()
}

fn is_of(reference: &OwnerReference, meta: &ObjectMeta) -> bool {
    Some(&reference.uid) == meta.uid.as_ref()
}

/// True when the claim belongs to an earlier pod of the same name, and so is
/// going to be deleted.
pub(super) fn is_stale(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    policy(set).1 && has_stale(claim, pod)
}

fn has_stale<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    let named = claim.metadata.owner_references.iter().flatten().find(|it| names(it, object));
    named.is_some_and(|reference| !is_of(reference, object.meta()))
}

/// True when somebody else manages the claim, so that the policy is not for it.
pub(super) fn is_managed_otherwise(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    policy(set) != (false, false)
        && claim.metadata.owner_references.iter().flatten().any(|reference| {
            if names(reference, set) {
                !is_of(reference, &set.metadata)
            } else if names(reference, pod) {
                !is_of(reference, &pod.metadata)
            } else {
                reference.controller == Some(true)
            }
        })
}

/// The owners that the claim should have by the set's policy, if it has others.
pub(super) fn owners(
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
    pod: &Pod,
    ordinal: i32,
) -> Option<Vec<OwnerReference>> {
    if has_stale(claim, set) || has_stale(claim, pod) {
        return None;
    }
    let (when_deleted, when_scaled) = policy(set);
    let gone = !replica::is_wanted(set, ordinal);
    let foreign = is_managed_otherwise(set, claim, pod);
    let by_pod = !foreign && when_scaled && gone;
    let by_set = !foreign && when_deleted && !(when_scaled && gone);
    let old = claim.metadata.owner_references.clone().unwrap_or_default();
    let has = |meta: &ObjectMeta| {
        let mut own = old.iter().filter(|it| is_of(it, meta));
        own.next().map(|it| it.controller == Some(true))
    };
    let right = |wanted: bool, meta: &ObjectMeta| has(meta) == wanted.then_some(true);
    if right(by_set, &set.metadata) && right(by_pod, &pod.metadata) {
        return None;
    }
    let mut owners: Vec<_> = old.into_iter().filter(|it| !names(it, set) && !names(it, pod)).collect();
    if by_pod {
        owners.push(controller_reference(pod));
    }
    if by_set {
        owners.push(controller_reference(set));
    }
    Some(owners)
}
