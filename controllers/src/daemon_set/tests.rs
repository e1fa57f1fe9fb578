use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use serde_json::{Value, json};

use super::{
    daemon::{self, Place, Places},
    plan::{Field, Observed, Plan, plan},
    revision, status,
};
use crate::merge::merge;

fn set(change: &Value) -> DaemonSet {
    let mut set = json!({
        "metadata": { "name": "agent", "namespace": "default", "uid": "agent-uid", "generation": 2 },
        "spec": {
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "main", "image": "v2" }] },
            },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
        },
    });
    merge(&mut set, change);
    serde_json::from_value(set).unwrap()
}

/// A node such as `a`, or `a zone=b !key:NoExecute` with a label and a taint.
fn node(text: &str) -> Arc<Node> {
    let mut words = text.split(' ');
    let mut node =
        json!({ "metadata": { "name": words.next().unwrap(), "labels": {} }, "spec": { "taints": [] } });
    for word in words {
        if let Some((key, effect)) = word.strip_prefix('!').and_then(|word| word.split_once(':')) {
            node["spec"]["taints"].as_array_mut().unwrap().push(json!({ "key": key, "effect": effect }));
        } else if let Some((key, value)) = word.split_once('=') {
            node["metadata"]["labels"][key] = value.into();
        }
    }
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A pod such as `a new ready` on node a, or `a old assigned` that waits for
/// it; its other words are `failed`, `succeeded`, `ending`.
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split(' ');
    let (node, hash) = (words.next().unwrap(), words.next().unwrap());
    let name = text.replace(' ', "-");
    let mut pod = serde_json::to_value(daemon::pod(&set(&json!({})), node, hash)).unwrap();
    let on_node = json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "nodeName": node },
        "status": { "phase": "Running" },
    });
    merge(&mut pod, &on_node);
    for word in words {
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z" }] } });
        let change = match word {
            "ready" => ready,
            "assigned" => json!({ "spec": { "nodeName": "" }, "status": { "phase": "Pending" } }),
            "failed" => json!({ "status": { "phase": "Failed" } }),
            "succeeded" => json!({ "status": { "phase": "Succeeded" } }),
            "ending" => json!({ "metadata": { "deletionTimestamp": "1970-01-01T00:00:00Z" } }),
            "2" => json!({ "metadata": { "creationTimestamp": "1970-01-01T00:00:02Z" } }),
            other => panic!("{other}"),
        };
        merge(&mut pod, &change);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn observed(change: &Value, nodes: &[&str], pods: &[&str]) -> Observed {
    Observed {
        set: Arc::new(set(change)),
        pods: pods.iter().map(|text| pod(text)).collect(),
        nodes: nodes.iter().map(|text| node(text)).collect(),
        hash: "new".into(),
        settled: true,
        waiting: HashMap::new(),
    }
}

fn acts_of(plan: &Plan) -> Vec<String> {
    let create = plan.create.iter().map(|node| format!("create {node}"));
    let delete = plan.delete.iter().map(|pod| format!("delete {}", pod.metadata.name.as_deref().unwrap()));
    create.chain(delete).collect()
}

fn planned(observed: &Observed) -> Plan {
    plan(&Field::of(observed, Timestamp::from_second(1000).unwrap()))
}

fn acts(change: &Value, nodes: &[&str], pods: &[&str]) -> Vec<String> {
    acts_of(&planned(&observed(change, nodes, pods)))
}

#[test]
fn where_daemons_may_run() {
    let check = |spec: Value, text: &str, expected: Place| {
        let set = set(&json!({ "spec": { "template": { "spec": spec } } }));
        assert_eq!(Places::of(&set).on(&node(text)), expected, "{spec} on {text}");
    };
    check(json!({}), "a", Place::Runs);
    check(json!({ "nodeName": "b" }), "a", Place::Leaves);
    check(json!({ "nodeSelector": { "zone": "x" } }), "a zone=x", Place::Runs);
    check(json!({ "nodeSelector": { "zone": "x" } }), "a zone=y", Place::Leaves);
    let terms = json!([{ "matchExpressions": [{ "key": "zone", "operator": "NotIn", "values": ["x"] }] }]);
    let affinity = json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } });
    check(affinity.clone(), "a zone=x", Place::Leaves);
    check(affinity, "a zone=y", Place::Runs);
    check(json!({}), "a !key:NoSchedule", Place::Stays);
    check(json!({}), "a !key:NoExecute", Place::Leaves);
    check(json!({}), "a !key:PreferNoSchedule", Place::Runs);
    check(
        json!({ "tolerations": [{ "key": "key", "operator": "Exists" }] }),
        "a !key:NoExecute",
        Place::Runs,
    );
    check(
        json!({}),
        "a !node.kubernetes.io/unschedulable:NoSchedule !node.kubernetes.io/not-ready:NoExecute",
        Place::Runs,
    );
    check(json!({}), "a !node.kubernetes.io/network-unavailable:NoSchedule", Place::Stays);
    check(
        json!({ "hostNetwork": true }),
        "a !node.kubernetes.io/network-unavailable:NoSchedule",
        Place::Runs,
    );
}

#[test]
fn a_pod_is_bound_to_its_node() {
    let terms = json!([{ "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }]);
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
    let change = json!({
        "metadata": { "annotations": { "deprecated.daemonset.template.generation": "7" } },
        "spec": { "template": { "spec": { "affinity": affinity, "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 }] } } },
    });
    let made = daemon::pod(&set(&change), "a", "hash");
    assert_eq!(daemon::node(&made), Some("a"));
    let labels = made.metadata.labels.unwrap();
    assert_eq!(
        (labels["controller-revision-hash"].as_str(), labels["pod-template-generation"].as_str()),
        ("hash", "7")
    );
    let spec = made.spec.unwrap();
    let terms =
        spec.affinity.unwrap().node_affinity.unwrap().required_during_scheduling_ignored_during_execution;
    assert!(terms.unwrap().node_selector_terms.iter().all(|term| term.match_expressions.is_none()));
    let tolerations = spec.tolerations.unwrap();
    assert_eq!((tolerations.len(), tolerations[0].toleration_seconds), (6, None));
}

#[test]
fn one_pod_a_node() {
    let check = |nodes: &[&str], pods: &[&str], expected: &[&str]| {
        assert_eq!(acts(&json!({}), nodes, pods), expected, "{nodes:?} {pods:?}");
    };
    check(&["a", "b"], &[], &["create a", "create b"]);
    check(&["a", "b"], &["a new ready"], &["create b"]);
    check(&["a"], &["a new assigned"], &[]);
    check(&["a"], &["a new ending"], &[]);
    check(&["a"], &["a new succeeded ending"], &["create a"]);
    check(&["a"], &["a new", "a new 2"], &["delete a-new-2"]);
    check(&["a"], &["a new assigned", "a new 2"], &["delete a-new-assigned"]);
    check(&["a !key:NoSchedule"], &[], &[]);
    check(&["a !key:NoSchedule"], &["a new"], &[]);
    check(&["a !key:NoExecute"], &["a new", "a new ending"], &["delete a-new"]);
    check(&[], &["a new"], &[]);
    check(&[], &["a new assigned"], &["delete a-new-assigned"]);
    check(&["a"], &["a new succeeded"], &["delete a-new-succeeded"]);
    let many: Vec<String> = (0..300).map(|number| format!("node-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(acts(&json!({}), &many, &[]).len(), 250);
    let unsettled = Observed { settled: false, ..observed(&json!({}), &["a"], &[]) };
    assert!(acts_of(&planned(&unsettled)).is_empty());
}

#[test]
fn failed_pods_are_replaced_after_a_while() {
    let mut observed = observed(&json!({}), &["a"], &["a new failed"]);
    let at_once = planned(&observed);
    assert_eq!(acts_of(&at_once), ["delete a-new-failed"]);
    assert!(at_once.failed.contains("a"));
    let note = &at_once.notes[0];
    let message = "Found failed daemon pod default/a-new-failed on node a, will try to kill it";
    assert_eq!((note.reason, note.message.as_str()), ("FailedDaemonPod", message));
    observed.waiting.insert("a".into(), Duration::from_secs(7));
    let later = planned(&observed);
    assert!(acts_of(&later).is_empty() && later.notes.is_empty());
    assert_eq!(later.again, Some(Duration::from_secs(7)));
}

#[test]
fn updates() {
    let check = |strategy: Value, nodes: &[&str], pods: &[&str], expected: &[&str]| {
        let change = json!({ "spec": { "updateStrategy": strategy } });
        assert_eq!(acts(&change, nodes, pods), expected, "{change} {pods:?}");
    };
    let margins = |surge: Value, unavailable: Value| json!({ "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } });
    let old = ["a old ready", "b old ready", "c old ready"];
    let all = ["a", "b", "c"];
    check(margins(json!(0), json!(1)), &all, &old, &["delete a-old-ready"]);
    check(margins(json!(0), json!("50%")), &all, &old, &["delete a-old-ready", "delete b-old-ready"]);
    check(margins(json!(0), json!(1)), &all, &["a new", "b old ready", "c old ready"], &[]);
    check(margins(json!(0), json!(1)), &all, &["a new ready", "b old", "c old ready"], &["delete b-old"]);
    check(margins(json!(0), json!(1)), &all, &["a old ready ending", "b old ready", "c old ready"], &[]);
    check(json!({ "type": "OnDelete", "rollingUpdate": null }), &all, &old, &[]);
    check(margins(json!(1), json!(0)), &all, &old, &["create a"]);
    check(margins(json!(1), json!(0)), &all, &["a old ready", "a new", "b old ready", "c old ready"], &[]);
    check(
        margins(json!(1), json!(0)),
        &all,
        &["a old ready", "a new ready", "b old ready", "c old ready"],
        &["delete a-old-ready"],
    );
    check(
        margins(json!(2), json!(0)),
        &all,
        &["a old", "b old ready", "c old ready"],
        &["create a", "create b", "create c"],
    );
    // A pod on a node that it may no longer come to goes when it can be done without.
    let tainted = ["a", "b !key:NoSchedule"];
    check(margins(json!(1), json!(0)), &tainted, &["a new ready", "b old ready"], &["delete b-old-ready"]);
    check(margins(json!(1), json!(0)), &tainted, &["a new", "b old ready"], &[]);
}

#[test]
fn status_counts() {
    let nodes = ["a", "b", "c", "d !key:NoExecute", "e !key:NoExecute"];
    let pods = ["a new ready", "b old ready", "d new ready"];
    let observed = observed(&json!({ "status": { "collisionCount": 3 } }), &nodes, &pods);
    let status = status::status(&Field::of(&observed, Timestamp::from_second(1000).unwrap()));
    let expected = json!({
        "desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberMisscheduled": 1, "numberReady": 2,
        "updatedNumberScheduled": 1, "numberAvailable": 2, "numberUnavailable": 1, "observedGeneration": 2,
        "collisionCount": 3,
    });
    assert_eq!(serde_json::to_value(status).unwrap(), expected);
}

#[test]
fn revisions() {
    let made = |image: &str, number: i64| {
        let containers = json!([{ "name": "main", "image": image }]);
        let set = set(&json!({ "spec": { "template": { "spec": { "containers": containers } } } }));
        let mut made = revision::made(&set, number);
        made.metadata.name = Some(format!("{image}-{number}"));
        Arc::new(made)
    };
    let numbers = |revisions: &[Arc<ControllerRevision>]| {
        revisions.iter().filter_map(|it| it.revision).collect::<Vec<_>>()
    };
    let check = |revisions: Vec<Arc<ControllerRevision>>,
                 current: Option<i64>,
                 duplicates: &[i64],
                 old: &[i64],
                 number: i64| {
        let turn = revision::turn(&set(&json!({})), revisions);
        assert_eq!(turn.current.and_then(|it| it.revision), current);
        assert_eq!(
            (numbers(&turn.duplicates).as_slice(), numbers(&turn.old).as_slice(), turn.number),
            (duplicates, old, number)
        );
    };
    check(vec![], None, &[], &[], 1);
    check(vec![made("v1", 1)], None, &[], &[1], 2);
    check(vec![made("v2", 3), made("v1", 2), made("v1", 1)], Some(3), &[], &[1, 2], 3);
    check(vec![made("v2", 1), made("v1", 2)], Some(1), &[], &[2], 3);
    check(vec![made("v2", 4), made("v2", 3)], Some(4), &[3], &[], 1);

    let old = [made("a", 1), made("b", 2), made("c", 3)];
    let live = pod(&format!("a {}", revision::hash(&old[0].metadata)));
    let surplus = revision::surplus(&set(&json!({})), &old, &[live]);
    assert_eq!(surplus.iter().filter_map(|it| it.revision).collect::<Vec<_>>(), [2, 3]);
}
