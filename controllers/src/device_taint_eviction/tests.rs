use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{DeviceTaintRule, ResourceClaim, ResourceSlice},
};
use serde_json::{Value, json};

use super::{
    eviction::{BY_POOL, World, pool_keys},
    status::{Counts, condition, count},
};
use crate::{
    devices::{BY_CLAIM, claim_keys},
    framework::Store,
};

const ADDED: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(ADDED.parse::<Timestamp>().unwrap().as_second() + seconds).unwrap()
}

fn pod() -> Value {
    json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"},
        "spec": {"containers": [], "nodeName": "node",
            "resourceClaims": [{"name": "a", "resourceClaimName": "c"}]}})
}

fn claim(tolerations: Value) -> Value {
    json!({"metadata": {"namespace": "n", "name": "c"}, "spec": {}, "status": {
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
        "allocation": {"devices": {"results": [
            {"request": "r", "driver": "d", "pool": "x", "device": "one", "tolerations": tolerations}]}}}})
}

fn slice(generation: i64, taints: Value) -> Value {
    json!({"metadata": {"name": format!("s{generation}")}, "spec": {"driver": "d",
        "pool": {"name": "x", "generation": generation, "resourceSliceCount": 1},
        "devices": [{"name": "one", "taints": taints}]}})
}

fn rule(effect: &str) -> Value {
    json!({"metadata": {"name": "r", "uid": "ru", "generation": 1}, "spec": {
        "deviceSelector": {"driver": "d"},
        "taint": {"key": "k", "effect": effect, "timeAdded": ADDED}}})
}

fn taint(effect: &str) -> Value {
    json!([{"key": "k", "effect": effect, "timeAdded": ADDED}])
}

fn slices(slices: Vec<Value>) -> Store<ResourceSlice> {
    let store = Store::of(slices.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect());
    store.index(BY_POOL, pool_keys);
    store
}

#[test]
fn pods_go_when_their_devices_are_tainted_and_they_do_not_bear_it() {
    let check =
        |pod: Value, tolerations: Value, published: Vec<Value>, rules: &[&str], expected: Option<i64>| {
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let claim: ResourceClaim = serde_json::from_value(claim(tolerations.clone())).unwrap();
            let claims = Store::of(vec![claim]);
            let slices = slices(published.clone());
            let rules = rules.iter().map(|effect| Arc::new(serde_json::from_value(rule(effect)).unwrap()));
            let world = World { claims: &claims, slices: &slices, rules: rules.collect() };
            let due = world.due(&pod).map(|due| due.at);
            assert_eq!(due, expected.map(at), "{tolerations} {published:?}");
        };
    let bears = |seconds: Value| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    check(pod(), json!([]), vec![slice(1, json!([]))], &[], None);
    check(pod(), json!([]), vec![slice(1, taint("NoSchedule"))], &[], None);
    check(pod(), json!([]), vec![slice(1, taint("NoExecute"))], &[], Some(0));
    check(pod(), bears(json!(null)), vec![slice(1, taint("NoExecute"))], &[], None);
    check(pod(), bears(json!(30)), vec![slice(1, taint("NoExecute"))], &[], Some(30));
    check(pod(), bears(json!(-30)), vec![slice(1, taint("NoExecute"))], &[], Some(0));
    check(pod(), json!([]), vec![slice(1, taint("NoExecute")), slice(2, json!([]))], &[], None);
    check(pod(), json!([]), vec![], &["NoExecute"], Some(0));
    check(pod(), bears(json!(30)), vec![], &["NoExecute"], Some(30));
    let mut unplaced = pod();
    unplaced["spec"]["nodeName"] = json!(null);
    check(unplaced, json!([]), vec![slice(1, taint("NoExecute"))], &[], None);
    let mut other = pod();
    other["metadata"]["uid"] = json!("other");
    check(other, json!([]), vec![slice(1, taint("NoExecute"))], &[], None);
}

#[test]
fn rules_tell_what_they_do() {
    let check = |effect: &str, counts: Counts, reason: &str, message: &str| {
        let rule: DeviceTaintRule = serde_json::from_value(rule(effect)).unwrap();
        let made = condition(&rule, &counts, at(5)).unwrap();
        assert_eq!((made.reason.as_str(), made.message.as_str()), (reason, message));
        let mut told = rule;
        told.status.get_or_insert_default().conditions = Some(vec![made]);
        assert_eq!(condition(&told, &counts, at(6)), None, "told once");
    };
    let none = Counts::default();
    check("NoExecute", none, "NotStarted", "");
    check(
        "NoExecute",
        Counts { pods: 1, namespaces: 1, ..none },
        "PodsPendingEviction",
        "1 pod needs to be evicted in 1 namespace.",
    );
    check(
        "NoExecute",
        Counts { pods: 3, namespaces: 2, evicted: 1, ..none },
        "PodsPendingEviction",
        "3 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller.",
    );
    check(
        "NoExecute",
        Counts { evicted: 2, ..none },
        "Completed",
        "2 pods evicted since starting the controller.",
    );
    check("NoSchedule", none, "OtherEffect", "Eviction only happens for the NoExecute effect.");
}

#[test]
fn a_rule_without_effect_tells_what_it_would_do() {
    let pods = Store::of(vec![serde_json::from_value(pod()).unwrap()]);
    pods.index(BY_CLAIM, claim_keys);
    let claims = Store::of(vec![serde_json::from_value(claim(json!([]))).unwrap()]);
    let slices = slices(vec![slice(1, json!([])), slice(2, json!([]))]);
    let world = World { claims: &claims, slices: &slices, rules: Vec::new() };
    let rule = Arc::new(serde_json::from_value(rule("None")).unwrap());
    let counts = count(&rule, &world, &pods, 0);
    assert_eq!(counts, Counts { published: 1, allocated: 1, pods: 1, namespaces: 1, evicted: 0 });
}
