//! Claims of devices, as controllers and scheduler read them.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim},
    resource::v1::{
        DeviceClaim, DeviceRequest, DeviceRequestAllocationResult, DeviceTaint, DeviceTaintRule,
        DeviceToleration, ResourceClaim,
    },
};

use crate::framework::{Key, controls};

/// Keeps a claim that has devices from going before they are given back.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// The annotation of claims that the scheduler made for extended resources.
pub const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// The annotation with the name that a pod has for a claim made for it.
pub const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// The name of the index of pods by claim, see [`claim_keys`].
pub const BY_CLAIM: &str = "resource-claim";

/// A claim of a pod by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The claim's name.
    pub name: &'a str,
    /// It was made for the pod, which must own it.
    pub owned: bool,
}

/// The claim that `asked` of `pod` stands for; none when it turned out that
/// the pod needs none.
/// # Errors
/// It has not been made yet, or `asked` says nothing: upstream's text.
pub fn named<'a>(pod: &'a Pod, asked: &'a PodResourceClaim) -> Result<Option<Named<'a>>, String> {
    if let Some(name) = &asked.resource_claim_name {
        return Ok(Some(Named { name, owned: false }));
    }
    let key = Key::of(&pod.metadata);
    if asked.resource_claim_template_name.is_none() {
        return Err(format!(
            "pod \"{key}\", spec.resourceClaim {:?}: none of the supported fields are set",
            asked.name
        ));
    }
    let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let made = statuses.into_iter().find(|status| status.name == asked.name);
    match made {
        Some(made) => Ok(made.resource_claim_name.as_deref().map(|name| Named { name, owned: true })),
        None => Err(format!("pod \"{key}\": ResourceClaim not created yet")),
    }
}

/// What the pod asks for in devices.
pub fn asked(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// The claims of a pod as far as they are known by name, those for its
/// extended resources included.
pub fn claims(pod: &Pod) -> Vec<Named<'_>> {
    let mut all: Vec<Named<'_>> = asked(pod).iter().filter_map(|asked| named(pod, asked).ok()?).collect();
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    let name = extended.map(|extended| extended.resource_claim_name.as_str()).filter(|name| !name.is_empty());
    all.extend(name.map(|name| Named { name, owned: true }));
    all
}

/// The values of the index [`BY_CLAIM`].
pub fn claim_keys(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let keys: BTreeSet<String> =
        claims(pod).iter().map(|claim| format!("{namespace}/{}", claim.name)).collect();
    keys.into_iter().collect()
}

/// Whether a claim that was made for a pod is this pod's.
/// # Errors
/// It is not: upstream's text.
pub fn is_for(pod: &Pod, claim: &ResourceClaim) -> Result<(), String> {
    if controls(&pod.metadata, &claim.metadata) {
        return Ok(());
    }
    let (claim, pod) = (Key::of(&claim.metadata), Key::of(&pod.metadata));
    Err(format!("ResourceClaim {claim} was not created for Pod {pod} (Pod is not owner)"))
}

/// What the claim asks for.
pub fn wanted(claim: &ResourceClaim) -> Option<&DeviceClaim> {
    claim.spec.as_ref()?.devices.as_ref()
}

/// The requests of the claim.
pub fn requests(claim: &ResourceClaim) -> &[DeviceRequest] {
    wanted(claim).and_then(|devices| devices.requests.as_deref()).unwrap_or_default()
}

/// Whether the claim has devices.
pub fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
}

/// The devices of the claim.
pub fn results(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_deref()).unwrap_or_default()
}

/// Whether the pod with this uid may use the claim.
pub fn is_reserved_for(claim: &ResourceClaim, uid: &str) -> bool {
    let consumers = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    consumers.into_iter().any(|consumer| consumer.uid == uid)
}

/// Whether a toleration bears a taint of a device. Of the taints only those
/// with an effect that is known matter.
pub fn bears(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || set(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => set(&toleration.value) == set(&taint.value),
        Some("Exists") => true,
        Some(_) => false,
    }
}

/// Whether a rule taints a device.
pub fn taints(rule: &DeviceTaintRule, driver: &str, pool: &str, device: &str) -> bool {
    let is = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|wanted| wanted == given);
    rule.spec.device_selector.as_ref().is_some_and(|selector| {
        is(&selector.driver, driver) && is(&selector.pool, pool) && is(&selector.device, device)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tolerations_bear_taints() {
        let check = |toleration: Value, expected: bool| {
            let taint = json!({"key": "k", "value": "v", "effect": "NoExecute"});
            let taint: DeviceTaint = serde_json::from_value(taint).unwrap();
            let parsed: DeviceToleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(bears(&parsed, &taint), expected, "{toleration}");
        };
        check(json!({"key": "k", "value": "v"}), true);
        check(json!({"key": "k", "operator": "Equal", "value": "w"}), false);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), true);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), false);
        check(json!({"operator": "Exists"}), true);
        check(json!({"operator": "Odd"}), false);
    }

    #[test]
    fn claims_are_known_by_name_once_they_are_made() {
        let pod = |statuses: Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"namespace": "n", "name": "p"},
                "spec": {"containers": [], "resourceClaims": [
                    {"name": "a", "resourceClaimName": "shared"},
                    {"name": "b", "resourceClaimTemplateName": "t"}, {"name": "c"}]},
                "status": {"resourceClaimStatuses": statuses},
            }))
            .unwrap()
        };
        let of = |pod: &Pod, at: usize| {
            named(pod, &asked(pod)[at]).map(|named| named.map(|it| it.name.to_owned()))
        };
        let waiting = pod(json!([]));
        assert_eq!(of(&waiting, 0), Ok(Some("shared".into())));
        assert_eq!(of(&waiting, 1), Err("pod \"n/p\": ResourceClaim not created yet".into()));
        assert_eq!(
            of(&waiting, 2),
            Err("pod \"n/p\", spec.resourceClaim \"c\": none of the supported fields are set".into())
        );
        assert_eq!(of(&pod(json!([{"name": "b"}])), 1), Ok(None));
        let made = pod(json!([{"name": "b", "resourceClaimName": "p-b-x"}]));
        assert_eq!(claim_keys(&made), ["n/p-b-x", "n/shared"]);
    }
}
