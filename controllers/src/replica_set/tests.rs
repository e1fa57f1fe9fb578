use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use serde_json::{Value, json};

use super::{
    gathering,
    plan::{Observed, plan},
    ranking, status,
};
use crate::framework::controller_reference;
use crate::merge::merge;

const NOW: &str = "2024-01-01T00:01:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn set(replicas: i32, change: Value) -> Arc<ReplicaSet> {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "a", "uid": "set", "generation": 3},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": []}},
        },
    });
    merge(&mut set, change);
    Arc::new(serde_json::from_value(set).unwrap())
}

fn pod(name: &str, change: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "a", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": "2024-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}],
        },
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:30Z"}]},
    });
    merge(&mut pod, change);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

fn observed(set: Arc<ReplicaSet>, pods: Vec<Arc<Pod>>, settled: bool) -> Observed {
    let reference = controller_reference(&*set);
    Observed { set, reference, pods, related: vec![], settled }
}

#[test]
fn too_few_too_many_and_just_right() {
    let check = |replicas, pods: Vec<Arc<Pod>>, settled, change: Value, create: usize, delete: &[&str]| {
        let observed = observed(set(replicas, change.clone()), pods, settled);
        let plan = plan(&observed, now());
        assert_eq!((plan.create, names(&plan.delete)), (create, delete.to_vec()), "{replicas} {change}");
    };
    let running = |n: usize| (0..n).map(|i| pod(&format!("p{i}"), json!({}))).collect::<Vec<_>>();
    check(3, running(3), true, json!({}), 0, &[]);
    check(3, running(1), true, json!({}), 2, &[]);
    check(1, running(2), true, json!({}), 0, &["p0"]);
    check(0, running(2), true, json!({}), 0, &["p0", "p1"]);
    check(9999, vec![], true, json!({}), 500, &[]);
    // Until its own writes show, and while it is being deleted, it does nothing.
    check(3, running(1), false, json!({}), 0, &[]);
    check(3, running(1), true, json!({"metadata": {"deletionTimestamp": NOW}}), 0, &[]);
    // Pods that have ended or are ending do not count.
    check(1, vec![pod("f", json!({"status": {"phase": "Failed"}}))], true, json!({}), 1, &[]);
    check(1, vec![pod("d", json!({"metadata": {"deletionTimestamp": NOW}}))], true, json!({}), 1, &[]);
}

#[test]
fn the_least_useful_pods_go_first() {
    let check = |first: Value, second: Value, related: &[Arc<Pod>]| {
        let mut pods = vec![pod("second", second.clone()), pod("first", first.clone())];
        ranking::sort(&mut pods, related, now());
        assert_eq!(names(&pods), ["first", "second"], "{first} before {second}");
    };
    let none = json!({});
    let ready_at = |time: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
    let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
    let restarts = |n: i32| json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": n}]}});
    check(json!({"spec": {"nodeName": null}}), none.clone(), &[]);
    check(json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}}), &[]);
    check(json!({"status": {"phase": "Unknown"}}), none.clone(), &[]);
    check(json!({"status": {"conditions": []}}), none.clone(), &[]);
    check(cost("-5"), none.clone(), &[]);
    check(none.clone(), cost("7"), &[]);
    check(
        json!({"spec": {"nodeName": "busy"}}),
        none.clone(),
        &[pod("x", json!({"spec": {"nodeName": "busy"}}))],
    );
    check(ready_at("2024-01-01T00:00:59Z"), ready_at("2024-01-01T00:00:01Z"), &[]);
    check(restarts(3), restarts(1), &[]);
    check(json!({"metadata": {"creationTimestamp": "2024-01-01T00:00:59Z"}}), none.clone(), &[]);
    // Not a number as upstream reads them: ignored, so the uid decides.
    check(none.clone(), cost("+9"), &[]);
}

#[test]
fn the_status_counts_and_reports_failure_once() {
    let check = |change: Value, pods: Vec<Arc<Pod>>, failure: Option<&str>, expected: Value| {
        let observed = observed(set(3, change), pods, true);
        let plan = plan(&observed, now());
        let status = status::status(&observed.set, &plan, failure, now());
        assert_eq!(serde_json::to_value(status).unwrap(), expected);
    };
    let counts = |replicas, full, ready, available| {
        json!({"replicas": replicas, "fullyLabeledReplicas": full, "readyReplicas": ready,
               "availableReplicas": available, "terminatingReplicas": 1, "observedGeneration": 3})
    };
    let pods = vec![
        pod("full", json!({"metadata": {"labels": {"tier": "front"}}})),
        pod("plain", json!({})),
        pod("unready", json!({"status": {"conditions": []}})),
        pod("ending", json!({"metadata": {"deletionTimestamp": NOW}})),
    ];
    check(json!({}), pods.clone(), None, counts(3, 1, 2, 2));
    let fresh = vec![
        pods[0].clone(),
        pod(
            "fresh",
            json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]}}),
        ),
        pods[3].clone(),
    ];
    check(json!({"spec": {"minReadySeconds": 20}}), fresh, None, counts(2, 1, 2, 1));
    let failed = |at: &str, message: &str| {
        let mut status = json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3});
        status["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                                       "message": message, "lastTransitionTime": at}]);
        status
    };
    check(json!({}), vec![], Some("quota"), failed(NOW, "quota"));
    let before = failed("2024-01-01T00:00:00Z", "quota");
    check(json!({"status": before}), vec![], Some("other"), failed("2024-01-01T00:00:00Z", "quota"));
    check(
        json!({"status": before}),
        vec![],
        None,
        json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3}),
    );
}

#[test]
fn changes_of_pods_are_gathered_by_the_size_of_the_set() {
    let check = |replicas: Option<i32>, micros: u64| {
        let mut set = ReplicaSet::default();
        set.spec.replicas = replicas;
        assert_eq!(gathering(&set), Duration::from_micros(micros), "{replicas:?}");
    };
    check(None, 500);
    check(Some(0), 0);
    check(Some(-1), 0);
    check(Some(3), 1_500);
    check(Some(100), 50_000);
    check(Some(1_000), 100_000);
    check(Some(i32::MAX), 100_000);
}
