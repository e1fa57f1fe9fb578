use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use serde_json::{Value, json};

use super::{
    node,
    plan::{Observed, plan},
    status,
};

fn now() -> Timestamp {
    "2024-01-01T00:01:00Z".parse().expect("a time")
}

fn set(strategy: Value) -> Arc<DaemonSet> {
    let set = json!({
        "metadata": {"name": "log", "namespace": "a", "uid": "set", "generation": 3},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "updateStrategy": strategy,
            "template": {
                "metadata": {"labels": {"app": "log"}},
                "spec": {"nodeSelector": {"disk": "fast"}, "containers": []},
            },
        },
    });
    Arc::new(serde_json::from_value(set).expect("a set"))
}

fn a_node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

// `NODE REVISION STATE`, where a state is `ready`, `starting`, `failed` or `ending`.
fn a_pod(number: usize, text: &str) -> Arc<Pod> {
    let [node, revision, state] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let ready = if state == "ready" { "True" } else { "False" };
    let phase = if state == "failed" { "Failed" } else { "Running" };
    let mut pod = json!({
        "metadata": {
            "name": format!("{node}-{revision}-{number}"), "namespace": "a",
            "creationTimestamp": format!("2024-01-01T00:00:{number:02}Z"),
            "labels": {"controller-revision-hash": revision},
        },
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": "2024-01-01T00:00:00Z"},
        ]},
    });
    if state == "ending" {
        pod["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:30Z".into();
    }
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn observed(strategy: Value, nodes: &[&str], pods: &[&str]) -> Observed {
    let pods: Vec<_> = pods.iter().enumerate().map(|(number, text)| a_pod(number, text)).collect();
    let fast = |name: &&str| a_node(name, json!({"disk": "fast"}), json!([]));
    Observed {
        set: set(strategy),
        nodes: nodes.iter().map(fast).collect(),
        pods: node::by_node(&pods),
        hash: "new".into(),
        settled: true,
        waits: Default::default(),
    }
}

fn outcome(observed: &Observed) -> (Vec<String>, Vec<String>) {
    let plan = plan(observed, now());
    let mut deleted: Vec<String> = plan.delete.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    deleted.sort();
    (plan.create, deleted)
}

#[test]
fn nodes_get_their_pod_and_no_more() {
    let check = |strategy: Value, pods: &[&str], create: &[&str], delete: &[&str]| {
        let (created, deleted) = outcome(&observed(strategy, &["n1", "n2"], pods));
        assert_eq!((created, deleted), (owned(create), owned(delete)), "{pods:?}");
    };
    let owned_strategy = || json!({"type": "OnDelete"});
    check(owned_strategy(), &[], &["n1", "n2"], &[]);
    check(owned_strategy(), &["n1 new ready"], &["n2"], &[]);
    check(owned_strategy(), &["n1 old ready", "n2 new ready"], &[], &[]);
    check(owned_strategy(), &["n1 new ready", "n1 new ready", "n2 new ready"], &[], &["n1-new-1"]);
    check(owned_strategy(), &["n1 new failed", "n2 new ready"], &[], &["n1-new-0"]);
    check(owned_strategy(), &["n1 new ending", "n2 new ready"], &[], &[]);
    let rolling = |fields: Value| json!({"type": "RollingUpdate", "rollingUpdate": fields});
    let one = || rolling(json!({"maxUnavailable": 1}));
    check(one(), &["n1 old ready", "n2 old ready"], &[], &["n1-old-0"]);
    check(one(), &["n1 new starting", "n2 old ready"], &[], &[]);
    check(one(), &["n1 new ready", "n2 old ready"], &[], &["n2-old-1"]);
    check(one(), &["n1 old starting", "n2 old ready"], &[], &["n1-old-0"]);
    check(
        rolling(json!({"maxUnavailable": "100%"})),
        &["n1 old ready", "n2 old ready"],
        &[],
        &["n1-old-0", "n2-old-1"],
    );
    let surge = || rolling(json!({"maxSurge": 1, "maxUnavailable": 0}));
    check(surge(), &["n1 old ready", "n2 old ready"], &["n1"], &[]);
    check(surge(), &["n1 old ready", "n1 new starting", "n2 old ready"], &[], &[]);
    check(surge(), &["n1 old ready", "n1 new ready", "n2 old ready"], &[], &["n1-old-0"]);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_node_is_judged_as_by_the_scheduler() {
    let set = set(json!({"type": "OnDelete"}));
    let spec = set.spec.template.spec.as_ref().expect("a spec");
    let tolerations = node::tolerations(spec);
    let check = |labels: Value, taints: Value, run: bool, go_on: bool| {
        let fit = node::fit(&set, &tolerations, &a_node("n", labels, taints.clone()));
        assert_eq!((fit.run, fit.go_on), (run, go_on), "{taints}");
    };
    let fast = || json!({"disk": "fast"});
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    check(fast(), json!([]), true, true);
    check(json!({}), json!([]), false, false);
    check(fast(), taint("own", "NoSchedule"), false, true);
    check(fast(), taint("own", "NoExecute"), false, false);
    check(fast(), taint("own", "PreferNoSchedule"), true, true);
    check(fast(), taint("node.kubernetes.io/not-ready", "NoExecute"), true, true);
    check(fast(), taint("node.kubernetes.io/unschedulable", "NoSchedule"), true, true);
    check(fast(), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), false, true);
}

#[test]
fn failed_pods_wait_and_the_unsettled_do_nothing() {
    let mut waiting = observed(json!({"type": "OnDelete"}), &["n1"], &["n1 new failed"]);
    waiting.waits.insert("n1".into(), Duration::from_secs(4));
    let planned = plan(&waiting, now());
    assert!(planned.delete.is_empty() && planned.retry == Some(Duration::from_secs(4)));
    let mut unsettled = observed(json!({}), &["n1"], &[]);
    unsettled.settled = false;
    assert!(plan(&unsettled, now()).create.is_empty());
}

#[test]
fn the_status_counts() {
    let mut observed =
        observed(json!({}), &["n1", "n2", "n3"], &["n1 new ready", "n2 old starting", "slow new ready"]);
    observed.nodes.push(a_node("slow", json!({}), json!([])));
    let status = status::status(&observed, None, now());
    assert_eq!(
        serde_json::to_value(status).expect("JSON"),
        json!({
            "currentNumberScheduled": 2, "desiredNumberScheduled": 3, "numberAvailable": 1,
            "numberMisscheduled": 1, "numberReady": 1, "numberUnavailable": 2,
            "observedGeneration": 3, "updatedNumberScheduled": 1,
        })
    );
}
