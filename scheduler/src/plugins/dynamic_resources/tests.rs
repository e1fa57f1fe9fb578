//! The rule as the scheduler asks it.

use std::sync::Arc;

use coracle_controllers::framework::Store;
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Args, DynamicResources,
    cycle::{Readiness, readiness},
};
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Event, Happening, Plugin},
    pod::PodInfo,
};

fn store<T: DeserializeOwned + coracle_controllers::framework::Reflected>(
    values: Vec<Value>,
) -> Arc<Store<T>> {
    Arc::new(Store::of(values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()))
}

fn claim(name: &str, status: Value) -> Value {
    json!({
        "metadata": {"namespace": "n", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        "status": status,
    })
}

fn allocated() -> Value {
    json!({"allocation": {"devices": {"results": [
        {"request": "r", "driver": "d", "pool": "p", "device": "one"}]}}})
}

fn rule(claims: Vec<Value>) -> DynamicResources {
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "d", "nodeName": "a",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "one"}]}});
    let objects = Objects {
        resource_claims: store::<ResourceClaim>(claims),
        resource_slices: store::<ResourceSlice>(vec![slice]),
        device_classes: store::<DeviceClass>(vec![json!({"metadata": {"name": "gpu"}, "spec": {}})]),
        ..Objects::default()
    };
    DynamicResources::new(Args::default(), objects.indexed())
}

fn pod(name: &str, claim: &str) -> PodInfo {
    let pod = json!({"metadata": {"namespace": "n", "name": name, "uid": name},
        "spec": {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]}});
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

fn node(name: &str) -> NodeInfo {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    NodeInfo { node: Some(Arc::new(node)), ..NodeInfo::default() }
}

/// What the rule says of a pod on a node.
fn asked(rule: &DynamicResources, pod: &PodInfo, on: &str) -> Result<(), String> {
    let mut state = CycleState::default();
    let whole = rule.pre_filter(&mut state, pod, &Snapshot::default()).map(drop);
    whole.and_then(|()| rule.filter(&state, pod, &node(on))).map_err(|why| why.reasons.join(", "))
}

#[test]
fn a_device_is_given_out_once() {
    let rule = rule(vec![claim("x", json!({})), claim("y", json!({}))]);
    let (one, two) = (pod("one", "x"), pod("two", "y"));
    assert_eq!(asked(&rule, &one, "b"), Err("cannot allocate all claims".into()));
    assert_eq!(asked(&rule, &one, "a"), Ok(()));
    assert!(rule.reserve(&one, "a").is_ok());
    assert_eq!(asked(&rule, &two, "a"), Err("cannot allocate all claims".into()), "in flight");
    let other = asked(&rule, &pod("other", "x"), "a");
    assert_eq!(other, Err("resource claim n/x is in the process of being allocated".into()));
    rule.unreserve(&one, "a");
    assert_eq!(asked(&rule, &two, "a"), Ok(()), "given back");
}

#[test]
fn claims_must_be_there_and_usable() {
    let mut going = claim("going", json!({}));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut strange = claim("strange", json!({}));
    strange["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = json!("gone");
    let rule = rule(vec![going, strange]);
    let check = |name: &str, expected: &str| {
        assert_eq!(asked(&rule, &pod("p", name), "a"), Err(expected.to_owned()));
    };
    check("none", "could not find v1.ResourceClaim \"n/none\"");
    check("going", "resourceclaim \"going\" is being deleted");
    check("strange", "request r: device class gone does not exist");
    assert!(rule.pre_enqueue(&pod("p", "none")).is_err());
    assert!(rule.pre_enqueue(&pod("p", "strange")).is_ok());
}

#[test]
fn a_pod_goes_where_its_devices_are() {
    let mut status = allocated();
    status["allocation"]["nodeSelector"] = json!({"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]});
    let rule = rule(vec![claim("x", status)]);
    assert_eq!(asked(&rule, &pod("p", "x"), "a"), Ok(()));
    assert_eq!(asked(&rule, &pod("p", "x"), "b"), Err("resourceclaim not available on the node".into()));
}

#[test]
fn pods_are_tried_again_when_a_claim_helps_them() {
    let rule = rule(vec![claim("x", json!({}))]);
    let parsed = |value: Value| -> ResourceClaim { serde_json::from_value(value).unwrap() };
    let (free, with, other) =
        (parsed(claim("x", json!({}))), parsed(claim("x", allocated())), parsed(claim("y", allocated())));
    let check = |before: Option<&ResourceClaim>, after: Option<&ResourceClaim>, expected: bool| {
        let event = Event { claims: (before, after), ..Happening::Claim.into() };
        assert_eq!(rule.helps(&pod("p", "x"), &event), expected);
    };
    check(None, Some(&free), true);
    check(Some(&free), Some(&free), false);
    check(Some(&free), Some(&with), true);
    check(Some(&with), Some(&free), true);
    check(Some(&other), None, true);
    check(Some(&free), None, false);
    check(None, Some(&other), false);
}

#[test]
fn devices_get_ready_or_fail() {
    let check = |conditions: Value, expected: Readiness| {
        let mut status = allocated();
        let result = &mut status["allocation"]["devices"]["results"][0];
        result["bindingConditions"] = json!(["ready"]);
        result["bindingFailureConditions"] = json!(["broken"]);
        status["devices"] = json!([{"driver": "d", "pool": "p", "device": "one", "conditions": conditions}]);
        let claim: ResourceClaim = serde_json::from_value(claim("x", status)).unwrap();
        assert_eq!(readiness(&claim), expected, "{conditions}");
    };
    let of = |name: &str| {
        json!({"type": name, "status": "True", "reason": "R", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    check(json!([]), Readiness::Waits);
    check(json!([of("ready")]), Readiness::Ready);
    let failed = "device binding failed: claim=x, reason=R, message=\"m\"";
    check(json!([of("ready"), of("broken")]), Readiness::Failed(failed.into()));
}
