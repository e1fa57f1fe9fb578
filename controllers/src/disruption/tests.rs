use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use serde_json::{Value, json};

use super::{
    plan::{Observed, failed, plan},
    stale,
};

const NOW: &str = "2024-01-01T00:10:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn budget(spec: Value, status: Value) -> Arc<PodDisruptionBudget> {
    let budget =
        json!({"metadata": {"name": "b", "namespace": "a", "generation": 4}, "spec": spec, "status": status});
    Arc::new(serde_json::from_value(budget).unwrap())
}

fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
    let pod = |i: usize| {
        let ready = if i < ready { "True" } else { "False" };
        let pod = json!({"metadata": {"name": format!("p{i}")}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    (0..ready + unready).map(pod).collect()
}

#[test]
fn what_is_allowed() {
    // (desired, expected, allowed)
    let check = |spec: Value, pods: Vec<Arc<Pod>>, scale: i32, expected: Result<(i32, i32, i32), &str>| {
        let observed = Observed { budget: budget(spec.clone(), json!(null)), pods, scale };
        let found = plan(&observed, now()).map(|plan| {
            let status = plan.status.unwrap();
            (
                status.desired_healthy.unwrap(),
                status.expected_pods.unwrap(),
                status.disruptions_allowed.unwrap(),
            )
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{spec} of {scale}");
    };
    check(json!({"minAvailable": 2}), pods(3, 0), 0, Ok((2, 3, 1)));
    check(json!({"minAvailable": 2}), pods(2, 3), 0, Ok((2, 5, 0)));
    check(json!({"minAvailable": 0}), vec![], 0, Ok((0, 0, 0)));
    check(json!({"minAvailable": "30%"}), pods(7, 0), 7, Ok((3, 7, 4)));
    check(json!({"minAvailable": "100%"}), pods(7, 0), 7, Ok((7, 7, 0)));
    check(json!({"maxUnavailable": 1}), pods(4, 1), 5, Ok((4, 5, 0)));
    check(json!({"maxUnavailable": 9}), pods(5, 0), 5, Ok((0, 5, 5)));
    check(json!({"maxUnavailable": "10%"}), pods(5, 0), 5, Ok((4, 5, 1)));
    check(json!({}), pods(1, 0), 1, Ok((0, 0, 0)));
    check(
        json!({"maxUnavailable": "x"}),
        pods(1, 0),
        1,
        Err("invalid value for IntOrString: invalid type: string is not a percentage"),
    );
}

#[test]
fn evicted_pods_count_until_they_are_overdue() {
    let check = |since: &str, allowed: i32, kept: bool, recheck: Option<u64>| {
        let status = json!({"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0, "disruptedPods": {"p0": since, "gone": since}});
        let observed =
            Observed { budget: budget(json!({"minAvailable": 1}), status), pods: pods(3, 0), scale: 0 };
        let plan = plan(&observed, now()).unwrap();
        let status = plan.status.unwrap();
        assert_eq!(status.disruptions_allowed, Some(allowed), "{since}");
        assert_eq!(
            status.disrupted_pods.is_some_and(|pods| pods.len() == 1 && pods.contains_key("p0")),
            kept
        );
        assert_eq!((plan.overdue.is_empty(), plan.recheck.map(|left| left.as_secs())), (kept, recheck));
    };
    check("2024-01-01T00:09:00Z", 1, true, Some(60));
    check("2024-01-01T00:07:00Z", 2, false, None);
}

#[test]
fn a_status_is_written_once_and_says_since_when() {
    let observed = |status: Value| Observed {
        budget: budget(json!({"minAvailable": 1}), status),
        pods: pods(2, 0),
        scale: 0,
    };
    let status = plan(&observed(json!(null)), now()).unwrap().status.unwrap();
    let expected = json!({"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": "",
                          "observedGeneration": 4, "lastTransitionTime": NOW});
    assert_eq!(serde_json::to_value(&status.conditions).unwrap(), json!([expected]));
    let known = serde_json::to_value(&status).unwrap();
    assert!(
        plan(&observed(known.clone()), now() + std::time::Duration::from_secs(9)).unwrap().status.is_none()
    );
    let failed = failed(&observed(known).budget, "why", now());
    assert_eq!(failed.disruptions_allowed, Some(0));
    let condition = &failed.conditions.unwrap()[0];
    assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", "why"));
}

#[test]
fn conditions_become_stale() {
    let check = |pod: Value, left: Option<u64>| {
        let parsed: Pod = serde_json::from_value(pod.clone()).unwrap();
        assert_eq!(stale::left(&parsed, now()).map(|left| left.as_secs()), left, "{pod}");
    };
    let said = |since: &str, reason: &str, status: &str| json!({"metadata": {}, "status": {"conditions": [{"type": "DisruptionTarget", "status": status, "reason": reason, "lastTransitionTime": since}]}});
    check(said("2024-01-01T00:09:30Z", "EvictionByEvictionAPI", "True"), Some(90));
    check(said("2024-01-01T00:00:00Z", "EvictionByEvictionAPI", "True"), Some(0));
    check(said("2024-01-01T00:00:00Z", "TerminationByKubelet", "True"), None);
    check(said("2024-01-01T00:00:00Z", "x", "False"), None);
    check(json!({"metadata": {}}), None);
}
