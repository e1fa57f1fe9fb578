use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use serde_json::{Value, json};

use super::{
    gone::Gone,
    plan::{is_done, plan},
    pod::{claim, name_for},
};
use crate::devices::{FINALIZER, asked};

fn consumer(uid: &str) -> Value {
    json!({"resource": "pods", "name": uid, "uid": uid})
}

fn said(claim: &ResourceClaim) -> String {
    let status = claim.status.clone().unwrap_or_default();
    let users: Vec<String> = status.reserved_for.into_iter().flatten().map(|it| it.uid).collect();
    let kept = claim.metadata.finalizers.iter().flatten().any(|it| it == FINALIZER);
    format!(
        "{}{}[{}]",
        if status.allocation.is_some() { "devices" } else { "free" },
        if kept { " kept" } else { "" },
        users.join(",")
    )
}

#[test]
fn claims_are_freed_when_nobody_uses_them() {
    let check = |claim: Value, remaining: &[&str], unneeded: bool, expected: &str| {
        let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
        let remaining: Vec<ResourceClaimConsumerReference> =
            remaining.iter().map(|uid| serde_json::from_value(consumer(uid)).unwrap()).collect();
        let plan = plan(&claim, remaining, unneeded);
        let mut steps = Vec::new();
        steps.extend(plan.status.as_ref().map(|it| format!("status {}", said(it))));
        steps.extend(plan.unbind.then(|| "release".to_owned()));
        steps.extend(plan.release.as_ref().map(|it| format!("write {}", said(it))));
        steps.extend(plan.delete.then(|| "delete".to_owned()));
        assert_eq!(steps.join(", "), expected);
    };
    let of = |users: &[&str], deleting: bool, allocated: bool, kept: bool| {
        json!({
            "metadata": {"name": "c", "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
                "finalizers": if kept { vec![FINALIZER] } else { vec![] }},
            "spec": {},
            "status": {"reservedFor": users.iter().map(|uid| consumer(uid)).collect::<Vec<_>>(),
                "allocation": allocated.then(|| json!({"devices": {}}))},
        })
    };
    check(of(&["a", "b"], false, true, true), &["a", "b"], false, "");
    check(of(&["a", "b"], false, true, true), &["b"], false, "status devices kept[b]");
    check(of(&["a"], false, true, true), &[], false, "status free kept[], release");
    check(of(&["a"], false, true, true), &[], true, "status free kept[], release, delete");
    check(of(&["a"], false, true, false), &[], false, "status devices[]");
    check(of(&[], false, true, true), &[], false, "");
    check(of(&[], true, true, true), &[], false, "status free kept[], release");
    check(of(&[], true, false, true), &[], false, "write free[]");
    check(of(&["a"], true, true, true), &["a"], false, "");
    check(of(&[], false, false, false), &[], true, "delete");
    check(of(&[], true, false, false), &[], true, "");
}

#[test]
fn pods_that_ended_or_never_ran_are_done() {
    let check = |pod: Value, expected: bool| {
        let parsed: Pod = serde_json::from_value(pod.clone()).unwrap();
        assert_eq!(is_done(&parsed), expected, "{pod}");
    };
    check(json!({"metadata": {}, "status": {"phase": "Running"}}), false);
    check(json!({"metadata": {}, "status": {"phase": "Succeeded"}}), true);
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    check(json!({"metadata": deleted.clone()}), true);
    check(json!({"metadata": deleted, "spec": {"containers": [], "nodeName": "n"}}), false);
}

#[test]
fn a_claim_is_as_its_template_says_and_its_pods() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": "p", "uid": "u"},
        "spec": {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]},
    }))
    .unwrap();
    let template: ResourceClaimTemplate = serde_json::from_value(json!({
        "metadata": {"name": "t"},
        "spec": {"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}},
    }))
    .unwrap();
    let made = serde_json::to_value(claim(&pod, &asked(&pod)[0], &template)).unwrap();
    assert_eq!(
        made,
        json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {
                "generateName": "p-gpu-", "labels": {"a": "b"},
                "annotations": {"x": "y", "resource.kubernetes.io/pod-claim-name": "gpu"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}],
            },
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
        })
    );
    assert_eq!(name_for(&"p".repeat(50), &"c".repeat(20)), format!("{}-{}", "p".repeat(39), "c".repeat(15)));
}

#[test]
fn only_the_last_are_remembered() {
    let mut gone = Gone::default();
    (0..600).for_each(|at| gone.add(format!("u{at}")));
    assert_eq!((gone.has("u0"), gone.has("u599")), (false, true));
}
