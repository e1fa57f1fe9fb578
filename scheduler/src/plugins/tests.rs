use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::default_plugins;
use crate::{
    cache::{Cache, NodeInfo, Snapshot},
    cycle::{Decision, Moment, schedule_one},
    pod::PodInfo,
    report,
};

pub(crate) fn merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change,
    }
}

/// A node with four CPUs, 8 GiB and room for three pods.
pub(crate) fn node(name: &str, change: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3", "example.com/gpu": "2"}},
    });
    merge(&mut node, change);
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A pod that asks for one CPU and 1 GiB.
pub(crate) fn pod(name: &str, spec: Value) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "a", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
    });
    merge(&mut pod["spec"], spec);
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

pub(super) fn asks(resources: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": resources}}]})
}

pub(super) fn cluster(nodes: Vec<Arc<Node>>, pods: Vec<(&str, PodInfo)>) -> Snapshot {
    let mut cache = Cache::default();
    nodes.into_iter().for_each(|node| cache.set_node(node));
    pods.into_iter().for_each(|(node, pod)| cache.set_pod(Arc::new(pod), node));
    cache.snapshot()
}

/// The node that `pod` goes to, or what its user is told.
fn place(nodes: &Snapshot, pod: &PodInfo, seed: u64) -> String {
    let mut luck = StdRng::seed_from_u64(seed);
    let mut plugins = default_plugins(&Default::default());
    // What it says has tests of its own.
    plugins.retain(|plugin| plugin.name() != "DefaultPreemption");
    let moment = Moment {
        plugins: &plugins,
        nodes,
        nominations: &Default::default(),
        percentage: 0,
        extenders: &[],
        shapes: &Default::default(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    match schedule_one(&moment, pod, &mut 0, &mut luck) {
        Decision::Node(name) => name,
        Decision::Unfit(diagnosis) => report::message(&diagnosis),
        Decision::NoNodes => report::NO_NODES.into(),
    }
}

#[test]
fn one_node_takes_or_rejects() {
    let check = |change: Value, spec: Value, expected: &str| {
        let nodes = cluster(vec![node("n", change.clone())], vec![]);
        let outcome = place(&nodes, &pod("p", spec.clone()), 1);
        let expected =
            if expected.is_empty() { "n".into() } else { format!("0/1 nodes are available: 1 {expected}.") };
        assert_eq!(outcome, expected, "{change} {spec}");
    };
    let none = || json!({});
    check(none(), none(), "");
    check(none(), asks(json!({"cpu": "4", "memory": "8Gi"})), "");
    check(none(), asks(json!({"cpu": "4001m"})), "Insufficient cpu");
    check(none(), asks(json!({"memory": "9Gi"})), "Insufficient memory");
    check(none(), asks(json!({"cpu": "9", "memory": "9Gi"})), "Insufficient cpu, 1 Insufficient memory");
    check(none(), asks(json!({"ephemeral-storage": "1"})), "Insufficient ephemeral-storage");
    check(none(), asks(json!({"example.com/gpu": "2"})), "");
    check(none(), asks(json!({"example.com/gpu": "3"})), "Insufficient example.com/gpu");
    check(none(), asks(json!({"example.com/unknown": "1"})), "Insufficient example.com/unknown");

    let cordoned = || json!({"spec": {"unschedulable": true}});
    let tolerate = |toleration: Value| json!({"tolerations": [toleration]});
    check(cordoned(), none(), "node(s) were unschedulable");
    check(cordoned(), tolerate(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"})), "");

    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
    let untolerated = "node(s) had untolerated taint(s)";
    check(taint("NoSchedule"), none(), untolerated);
    check(taint("NoExecute"), none(), untolerated);
    check(taint("PreferNoSchedule"), none(), "");
    check(taint("NoSchedule"), tolerate(json!({"key": "k", "value": "v"})), "");
    check(taint("NoSchedule"), tolerate(json!({"key": "k", "value": "w"})), untolerated);
    check(taint("NoSchedule"), tolerate(json!({"key": "k", "operator": "Exists"})), "");
    check(taint("NoSchedule"), tolerate(json!({"operator": "Exists"})), "");
    check(
        taint("NoSchedule"),
        tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})),
        untolerated,
    );

    let zoned = || json!({"metadata": {"labels": {"zone": "a", "size": "7"}}});
    let unmatched = "node(s) didn't match Pod's node affinity/selector";
    let required = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let rule = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    check(zoned(), json!({"nodeSelector": {"zone": "a"}}), "");
    check(zoned(), json!({"nodeSelector": {"zone": "b"}}), unmatched);
    check(zoned(), required(json!([rule("zone", "In", &["a", "b"])])), "");
    check(zoned(), required(json!([rule("zone", "NotIn", &["a"])])), unmatched);
    check(zoned(), required(json!([rule("zone", "In", &["x"]), rule("zone", "Exists", &[])])), "");
    check(zoned(), required(json!([rule("size", "Gt", &["6"])])), "");
    check(zoned(), required(json!([rule("size", "Lt", &["7"])])), unmatched);
    check(zoned(), required(json!([{}])), unmatched);
    let named = |names: &[&str]| json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]}]);
    check(none(), required(named(&["n"])), "");
    check(none(), required(named(&["other"])), "node(s) didn't satisfy plugin(s) [NodeAffinity]");
    check(none(), json!({"nodeName": "other"}), "node(s) didn't match the requested node name");
}

#[test]
fn pods_on_the_node_are_in_the_way() {
    let port = |port: Value| json!({"containers": [{"name": "c", "ports": [port]}]});
    let check = |on: Vec<Value>, spec: Value, expected: &str| {
        let pods =
            on.iter().enumerate().map(|(i, spec)| ("n", pod(&format!("on{i}"), spec.clone()))).collect();
        let outcome = place(&cluster(vec![node("n", json!({}))], pods), &pod("p", spec.clone()), 1);
        let expected =
            if expected.is_empty() { "n".into() } else { format!("0/1 nodes are available: 1 {expected}.") };
        assert_eq!(outcome, expected, "{on:?} {spec}");
    };
    check(vec![asks(json!({"cpu": "3"}))], json!({}), "");
    check(vec![asks(json!({"cpu": "3500m"}))], json!({}), "Insufficient cpu");
    check(vec![json!({}); 3], json!({}), "Too many pods");
    let taken = "node(s) didn't have free ports for the requested pod ports";
    let eighty = || port(json!({"containerPort": 1, "hostPort": 80}));
    check(vec![eighty()], eighty(), taken);
    check(vec![eighty()], port(json!({"containerPort": 1, "hostPort": 81})), "");
    check(vec![eighty()], port(json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"})), "");
    check(vec![eighty()], port(json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"})), taken);
    let at = |address: &str| port(json!({"containerPort": 1, "hostPort": 80, "hostIP": address}));
    check(vec![at("10.0.0.1")], at("10.0.0.2"), "");
}

#[test]
fn the_better_node_is_chosen() {
    let check = |left: Value, right: Value, on_left: Vec<Value>, spec: Value, expected: &str| {
        let pods = on_left
            .iter()
            .enumerate()
            .map(|(i, spec)| ("left", pod(&format!("on{i}"), spec.clone())))
            .collect();
        let nodes = cluster(vec![node("left", left.clone()), node("right", right.clone())], pods);
        for seed in 0..8 {
            assert_eq!(place(&nodes, &pod("p", spec.clone()), seed), expected, "{left} {right} {spec}");
        }
    };
    let none = || json!({});
    check(none(), none(), vec![json!({})], json!({}), "right");
    check(none(), none(), vec![asks(none())], asks(none()), "right");
    check(
        json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}),
        none(),
        vec![],
        none(),
        "right",
    );
    let prefer = |zone: &str| {
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}}]}}})
    };
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    check(zone("a"), zone("b"), vec![], prefer("a"), "left");
    check(zone("a"), zone("b"), vec![], prefer("b"), "right");
    // Much memory is used on the left: a pod that wants only CPU evens it out.
    let balanced = vec![asks(json!({"cpu": "0", "memory": "1Mi"}))];
    check(none(), json!({"status": {"allocatable": {"cpu": "1"}}}), balanced, json!({}), "left");
}

#[test]
fn equals_are_chosen_by_the_seed() {
    let nodes = cluster(vec![node("a", json!({})), node("b", json!({})), node("c", json!({}))], vec![]);
    let chosen: std::collections::BTreeSet<String> =
        (0..32).map(|seed| place(&nodes, &pod("p", json!({})), seed)).collect();
    assert_eq!(chosen.len(), 3, "all three come up");
    assert_eq!(place(&nodes, &pod("p", json!({})), 7), place(&nodes, &pod("p", json!({})), 7));
}

#[test]
fn no_nodes_and_mixed_reasons() {
    assert_eq!(
        place(&cluster(vec![], vec![]), &pod("p", json!({})), 1),
        "no nodes available to schedule pods"
    );
    let nodes = cluster(
        vec![
            node("a", json!({"spec": {"unschedulable": true}})),
            node("b", json!({})),
            node("c", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})),
        ],
        vec![("b", pod("big", asks(json!({"cpu": "4"}))))],
    );
    assert_eq!(
        place(&nodes, &pod("p", json!({})), 1),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
    );
}

#[test]
fn a_long_search_goes_on_where_it_stopped() {
    let nodes = cluster((0..200).map(|n| node(&format!("n{n:03}"), json!({}))).collect(), vec![]);
    let (mut start, mut luck) = (0, StdRng::seed_from_u64(1));
    for expected in [100, 0, 100] {
        let moment = Moment {
            plugins: &default_plugins(&Default::default()),
            nodes: &nodes,
            nominations: &Default::default(),
            percentage: 0,
            extenders: &[],
            shapes: &Default::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        schedule_one(&moment, &pod("p", json!({})), &mut start, &mut luck);
        assert_eq!(start, expected);
    }
    let info: &NodeInfo = &nodes.nodes()[0];
    assert_eq!(info.name(), "n000");
}
