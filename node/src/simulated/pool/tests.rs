use std::{collections::BTreeSet, sync::Arc};

use coracle_crds::NodePool;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::plan::{Observed, plan, shape, status};

fn pool(spec: Value) -> Arc<NodePool> {
    let value = json!({"metadata": {"name": "big", "uid": "u", "generation": 3}, "spec": spec});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn node(name: &str, ready: bool, going: bool) -> Arc<Node> {
    let deleted = going.then_some("2026-01-01T00:00:00Z");
    let ready = if ready { "True" } else { "Unknown" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": deleted},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap(),
    )
}

fn observed(spec: Value, owned: &[Arc<Node>], orphans: &[Arc<Node>], taken: &[&str]) -> Observed {
    let taken = taken.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    Observed { pool: pool(spec), owned: owned.to_vec(), orphans: orphans.to_vec(), taken }
}

#[test]
fn as_many_as_asked_for() {
    let check = |spec: Value, owned: &[&str], create: &[&str], delete: &[&str]| {
        let owned: Vec<_> = owned.iter().map(|name| node(name, true, false)).collect();
        let plan = plan(&observed(spec.clone(), &owned, &[], &[]));
        let deleted: Vec<String> = plan.delete.iter().map(|node| node.name_any()).collect();
        assert_eq!(
            (plan.create, deleted),
            (
                create.iter().map(|it| (*it).to_owned()).collect(),
                delete.iter().map(|it| (*it).to_owned()).collect()
            ),
            "{spec}"
        );
    };
    check(json!({}), &[], &["big-1"], &[]);
    check(json!({"replicas": 0}), &[], &[], &[]);
    check(json!({"replicas": 3}), &["big-2"], &["big-1", "big-3"], &[]);
    check(json!({"replicas": 1}), &["big-1", "big-10", "big-2"], &[], &["big-10", "big-2"]);
    check(json!({"replicas": 1, "prefix": "worker"}), &[], &["worker-1"], &[]);
    // Names that it would not have given.
    check(json!({"replicas": 2}), &["big-1", "big-02", "other-1"], &["big-2"], &["big-02", "other-1"]);
}

#[test]
fn what_is_in_the_way() {
    // One that goes still has its name, and is not deleted twice.
    let going = [node("big-1", false, true), node("big-9", true, true)];
    let seen = observed(json!({"replicas": 2}), &going, &[], &["big-2"]);
    let made = plan(&seen);
    assert!(made.create.is_empty() && made.delete.is_empty() && made.again.is_some(), "{made:?}");
    let told = status(&seen, None, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((told.replicas, told.ready_replicas), (0, 0));
    assert_eq!(told.conditions[0].reason, "NamesTaken");
    assert_eq!(told.conditions[0].message, "others have the names big-2");
    // Nodes without an owner come back where the name fits.
    let orphans = [node("big-1", true, false), node("stranger", true, false)];
    let seen = observed(json!({"replicas": 2}), &[], &orphans, &["big-1"]);
    let made = plan(&seen);
    assert_eq!(made.adopt.iter().map(|node| node.name_any()).collect::<Vec<_>>(), ["big-1"]);
    assert_eq!(made.create, ["big-2"]);
    // A pool that goes does nothing more.
    let mut seen = observed(json!({"replicas": 2}), &[], &[], &[]);
    let mut ending = (*seen.pool).clone();
    ending.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    seen.pool = Arc::new(ending);
    assert_eq!(plan(&seen), super::plan::Plan::default());
    // Many are made some at a time.
    let made = plan(&observed(json!({"replicas": 1200}), &[], &[], &[]));
    assert!(made.create.len() == 500 && made.again.is_some());
}

#[test]
fn conditions_tell_what_is_missing() {
    let check = |owned: &[Arc<Node>], failure: Option<&str>, truth: &str, reason: &str| {
        let seen = observed(json!({"replicas": 2}), owned, &[], &[]);
        let told = status(&seen, failure, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((told.conditions[0].status.as_str(), told.conditions[0].reason.as_str()), (truth, reason));
        assert_eq!(told.observed_generation, Some(3));
        assert_eq!(told.selector.as_deref(), Some("coracle.dev/node-pool=big"));
    };
    let (well, silent) = (|name| node(name, true, false), |name| node(name, false, false));
    check(&[well("big-1")], None, "False", "Scaling");
    check(&[well("big-1"), silent("big-2")], None, "False", "NodesNotReady");
    check(&[well("big-1"), well("big-2")], None, "True", "NodesReady");
    check(&[well("big-1"), well("big-2")], Some("refused"), "False", "Failed");
    // Nothing is written twice.
    let mut seen = observed(json!({"replicas": 1}), &[well("big-1")], &[], &[]);
    let told = status(&seen, None, Timestamp::UNIX_EPOCH).unwrap();
    let mut pool = (*seen.pool).clone();
    pool.status = Some(told);
    seen.pool = Arc::new(pool);
    assert_eq!(status(&seen, None, Timestamp::from_second(99).unwrap()), None);
}

#[test]
fn the_template_is_the_shape() {
    let pool = pool(json!({
        "replicas": 5, "zones": ["a", "b"],
        "template": {
            "labels": {"disk": "ssd"}, "annotations": {"note": "x"},
            "taints": [{"key": "gpu", "value": "yes", "effect": "NoExecute"}],
            "capacity": {"cpu": 4, "example.com/gpu": "8"}, "allocatable": {"cpu": "3500m"},
            "images": [{"names": ["big:1"], "sizeBytes": 7}],
        },
    }));
    let one = shape(&pool, "big-3");
    assert_eq!(one.labels.get("topology.kubernetes.io/zone").map(String::as_str), Some("a"));
    assert_eq!(
        shape(&pool, "big-4").labels.get("topology.kubernetes.io/zone").map(String::as_str),
        Some("b")
    );
    assert_eq!(one.labels.get("coracle.dev/node-pool").map(String::as_str), Some("big"));
    assert_eq!(one.taints, [json!({"key": "gpu", "value": "yes", "effect": "NoExecute"})]);
    assert_eq!((one.capacity["cpu"].0.as_str(), one.capacity["memory"].0.as_str()), ("4", "256Gi"));
    assert_eq!((one.allocatable["cpu"].0.as_str(), one.images.len()), ("3500m", 1));
}
