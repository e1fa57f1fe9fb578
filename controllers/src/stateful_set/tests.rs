use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use serde_json::{Value, json};

use super::{
    plan::{Observed, Plan, Step, plan},
    retention,
    revision::{self, Edition, Editions, Turn},
    status,
};
use crate::merge::merge;

fn set(change: &Value) -> StatefulSet {
    let mut set = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "web-uid", "generation": 1 },
        "spec": {
            "replicas": 3,
            "serviceName": "headless",
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template("v2"),
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
        },
    });
    merge(&mut set, change);
    serde_json::from_value(set).unwrap()
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": image }] },
    })
}

/// A pod such as `web-0 v1 ready`; its other words are `pending`, `failed`
/// and `ending`.
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split(' ');
    let (name, revision) = (words.next().unwrap(), words.next().unwrap());
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("{name}-uid"),
            "labels": { "app": "web", "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name },
        },
        "status": { "phase": "Running" },
    });
    for word in words {
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z" }] } });
        let change = match word {
            "ready" => ready,
            "pending" => json!({ "status": { "phase": "Pending" } }),
            "failed" => json!({ "status": { "phase": "Failed" } }),
            "ending" => json!({ "metadata": { "deletionTimestamp": "1970-01-01T00:00:00Z" } }),
            other => panic!("{other}"),
        };
        merge(&mut pod, &change);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn edition(name: &str) -> Edition {
    Edition { name: name.into(), template: serde_json::from_value(template(name)).unwrap() }
}

fn planned_with(set: StatefulSet, pods: &[&str], claims: &[Value]) -> Plan {
    let claims = claims.iter().map(|claim| {
        let claim: PersistentVolumeClaim = serde_json::from_value(claim.clone()).unwrap();
        (claim.metadata.name.clone().unwrap(), Arc::new(claim))
    });
    let pods = pods.iter().map(|text| pod(text)).collect();
    let observed = Observed { set: Arc::new(set), pods, claims: claims.collect() };
    let editions = Editions { current: edition("v1"), update: edition("v2"), collisions: 0 };
    plan(&observed, &editions, Timestamp::from_second(1000).unwrap())
}

fn planned(change: &Value, pods: &[&str]) -> Plan {
    planned_with(set(change), pods, &[])
}

fn acts(plan: &Plan) -> Vec<String> {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
    let told = |step: &Step| match step {
        Step::Create(pod) => {
            let labels = pod.metadata.labels.as_ref().unwrap();
            format!("create {} {}", name(pod), labels["controller-revision-hash"])
        }
        Step::Claims(pod) => format!("claims {}", name(pod)),
        Step::Repair(pod) => format!("repair {}", name(pod)),
        Step::Retain(pod) => format!("retain {}", name(pod)),
        Step::Delete(pod) => format!("delete {}", name(pod)),
    };
    let outdated = plan.outdated.iter().map(|pod| format!("update {}", name(pod)));
    plan.replicas.iter().chain(&plan.condemned).flatten().map(told).chain(outdated).collect()
}

#[test]
fn pods_come_and_go_in_order() {
    let check = |change: Value, pods: &[&str], expected: &[&str]| {
        assert_eq!(acts(&planned(&change, pods)), expected, "{change} {pods:?}");
    };
    let same = json!({});
    check(same.clone(), &[], &["create web-0 v2"]);
    check(same.clone(), &["web-0 v2"], &[]);
    check(same.clone(), &["web-0 v2 ready"], &["create web-1 v2"]);
    check(same.clone(), &["web-0 v2 ready", "web-1 v2 ready", "web-2 v2 ready"], &[]);
    check(same.clone(), &["web-0 v2 ready", "web-1 v2 ready ending"], &[]);
    check(same.clone(), &["web-0 v2 failed", "web-1 v2 ready"], &["delete web-0"]);
    check(same.clone(), &["web-0 v2 failed ending"], &[]);
    check(same.clone(), &["web-x v2 ready", "web-99999999999 v2 ready"], &["create web-0 v2"]);
    // What is too many goes from the end, one at a time, when all is well.
    let one = json!({ "spec": { "replicas": 1 } });
    check(one.clone(), &["web-0 v2 ready", "web-1 v2 ready", "web-2 v2 ready"], &["delete web-2"]);
    check(one.clone(), &["web-0 v2", "web-1 v2 ready", "web-2 v2 ready"], &[]);
    check(one.clone(), &["web-0 v2 ready", "web-1 v2", "web-2 v2"], &[]);
    check(one.clone(), &["web-0 v2 ready", "web-1 v2 ready", "web-2 v2"], &["delete web-2"]);
    check(one, &["web-0 v2 ready", "web-1 v2 ready", "web-2 v2 ready ending"], &[]);
    let later = json!({ "spec": { "ordinals": { "start": 5 }, "replicas": 2 } });
    check(later.clone(), &[], &["create web-5 v2"]);
    check(later, &["web-5 v2 ready", "web-6 v2 ready", "web-0 v2 ready"], &["delete web-0"]);
    let slow = json!({ "spec": { "minReadySeconds": 901 } });
    check(slow, &["web-0 v2 ready"], &[]);
    check(json!({ "metadata": { "deletionTimestamp": "1970-01-01T00:00:00Z" } }), &[], &[]);
}

#[test]
fn in_parallel_all_come_and_go_at_once() {
    let check = |replicas: i64, pods: &[&str], expected: &[&str]| {
        let change = json!({ "spec": { "podManagementPolicy": "Parallel", "replicas": replicas } });
        assert_eq!(acts(&planned(&change, pods)), expected, "{pods:?}");
    };
    check(3, &[], &["create web-0 v2", "create web-1 v2", "create web-2 v2"]);
    check(3, &["web-1 v2 failed"], &["delete web-1", "create web-0 v2", "create web-2 v2"]);
    check(0, &["web-0 v2", "web-1 v2 ending", "web-2 v2"], &["delete web-2", "delete web-0"]);
    let many = planned(&json!({ "spec": { "podManagementPolicy": "Parallel", "replicas": i32::MAX } }), &[]);
    assert_eq!(acts(&many).len(), 500);
}

#[test]
fn updates_go_from_the_end() {
    let ready = ["web-0 v1 ready", "web-1 v1 ready", "web-2 v1 ready"];
    let check = |strategy: Value, policy: &str, pods: &[&str], expected: &[&str]| {
        let change = json!({ "spec": { "podManagementPolicy": policy, "updateStrategy": strategy } });
        assert_eq!(acts(&planned(&change, pods)), expected, "{change} {pods:?}");
    };
    let rolling = |partition: i32, most: Value| json!({ "rollingUpdate": { "partition": partition, "maxUnavailable": most } });
    let one = Value::Null;
    check(rolling(0, one.clone()), "OrderedReady", &ready, &["update web-2"]);
    check(
        rolling(2, one.clone()),
        "OrderedReady",
        &["web-0 v1 ready", "web-1 v1 ready", "web-2 v2 ready"],
        &[],
    );
    check(rolling(0, one.clone()), "OrderedReady", &["web-0 v1 ready", "web-1 v1 ready", "web-2 v2"], &[]);
    check(rolling(0, json!(2)), "OrderedReady", &ready, &["update web-2", "update web-1"]);
    check(rolling(0, json!("10%")), "OrderedReady", &ready, &["update web-2"]);
    check(rolling(1, json!("100%")), "OrderedReady", &ready, &["update web-2", "update web-1"]);
    // A pod below the partition comes back as it was.
    check(rolling(3, one.clone()), "OrderedReady", &["web-0 v1 ready"], &["create web-1 v1"]);
    check(rolling(1, one.clone()), "OrderedReady", &["web-0 v1 ready"], &["create web-1 v2"]);
    check(json!({ "type": "OnDelete", "rollingUpdate": null }), "OrderedReady", &ready, &[]);
    check(
        rolling(0, one.clone()),
        "Parallel",
        &["web-0 v1", "web-1 v1 ready", "web-2 v1 ready"],
        &["update web-0"],
    );
    check(
        rolling(0, json!(2)),
        "Parallel",
        &["web-0 v1", "web-1 v1 ready", "web-2 v1 ready"],
        &["update web-0", "update web-2"],
    );
}

#[test]
fn status_counts() {
    let check = |pods: &[&str], expected: [i32; 5], current: &str| {
        let set = set(&json!({}));
        let plan = planned_with(set.clone(), pods, &[]);
        let status = status::completed(&set, plan.status);
        let count = |count: Option<i32>| count.unwrap();
        let got = [
            status.replicas,
            count(status.ready_replicas),
            count(status.available_replicas),
            count(status.current_replicas),
            count(status.updated_replicas),
        ];
        assert_eq!((got, status.current_revision.as_deref()), (expected, Some(current)), "{pods:?}");
    };
    check(&[], [0, 0, 0, 0, 0], "v1");
    check(&["web-0 v1 ready", "web-1 v2", "web-2 v2 ready ending"], [3, 2, 2, 1, 1], "v1");
    check(&["web-0 v2 ready", "web-1 v2 ready", "web-2 v2 ready"], [3, 3, 3, 3, 3], "v2");
}

#[test]
fn pods_have_a_name_and_claims() {
    let change = json!({ "spec": {
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
        "template": { "spec": { "volumes": [{ "name": "data" }, { "name": "other" }] } },
    }});
    let set = set(&change);
    let pod = super::identity::pod(&set, &set.spec.template, "v2", 4);
    let labels = pod.metadata.labels.clone().unwrap();
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "4");
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-4");
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-4"), Some("headless")));
    let volumes: Vec<_> = spec
        .volumes
        .iter()
        .flatten()
        .map(|volume| {
            (
                volume.name.as_str(),
                volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str()),
            )
        })
        .collect();
    assert_eq!(volumes, [("data", Some("data-web-4")), ("other", None)]);
    let (_, claim) = super::identity::claims(&set, 4).remove(0);
    assert_eq!(claim.metadata.labels.unwrap()["app"], "web");
    assert!(super::identity::is_stored(&set, &pod));
    let pending = planned_with(set.clone(), &["web-0 v2 pending"], &[]);
    assert_eq!(acts(&pending), ["claims web-0"]);
}

#[test]
fn claims_belong_to_whom_the_policy_says() {
    let owner = |kind: &str, name: &str, uid: &str| {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({ "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true })
    };
    let of_set = || owner("StatefulSet", "web", "web-uid");
    let check = |policy: [&str; 2], pod_text: &str, owners: Vec<Value>, expected: &[&str]| {
        let set = set(
            &json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": policy[0], "whenScaled": policy[1] } } }),
        );
        let claim: PersistentVolumeClaim =
            serde_json::from_value(json!({ "metadata": { "name": "c", "ownerReferences": owners } }))
                .unwrap();
        let pod = pod(pod_text);
        let is_met = retention::is_met(&set, &claim, &pod);
        let met = if is_met { claim.clone() } else { retention::met(&set, &claim, &pod) };
        let uids: Vec<_> = met.metadata.owner_references.iter().flatten().map(|o| o.uid.as_str()).collect();
        assert_eq!(uids, expected, "{policy:?} {pod_text} {owners:?}");
        assert!(
            retention::is_met(&set, &met, &pod),
            "what is met stays so: {policy:?} {pod_text} {owners:?}"
        );
    };
    let (retain, delete) = ("Retain", "Delete");
    check([retain, retain], "web-0 v2", vec![], &[]);
    check([retain, retain], "web-0 v2", vec![of_set()], &[]);
    check([delete, retain], "web-0 v2", vec![], &["web-uid"]);
    check([delete, retain], "web-9 v2", vec![], &["web-uid"]);
    check([retain, delete], "web-0 v2", vec![], &[]);
    check([retain, delete], "web-9 v2", vec![], &["web-9-uid"]);
    check([delete, delete], "web-0 v2", vec![], &["web-uid"]);
    check([delete, delete], "web-9 v2", vec![of_set()], &["web-9-uid"]);
    // Another's claim is left alone, an earlier set's or pod's too.
    check([delete, retain], "web-0 v2", vec![owner("Other", "o", "other")], &["other"]);
    check([delete, retain], "web-0 v2", vec![owner("StatefulSet", "web", "earlier")], &["earlier"]);
    let earlier = json!({ "metadata": { "name": "data-web-0", "ownerReferences": [owner("Pod", "web-0", "earlier")] } });
    let change = json!({ "spec": {
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": retain, "whenScaled": delete },
    }});
    assert!(acts(&planned_with(set(&change), &[], &[earlier])).is_empty(), "it waits for the claim to go");
}

#[test]
fn revisions() {
    let set = set(&json!({}));
    let made = |image: &str, number: i64| {
        let mut of = set.clone();
        of.spec.template = serde_json::from_value(template(image)).unwrap();
        Arc::new(revision::made(&of, number, 0))
    };
    let told = |revisions: &[Arc<ControllerRevision>]| match revision::turn(&set, revisions) {
        Turn::Keep(it) => format!("keep {}", it.revision.unwrap()),
        Turn::Renumber(it, number) => format!("renumber {} to {number}", it.revision.unwrap()),
        Turn::Create(number) => format!("create {number}"),
    };
    assert_eq!(told(&[]), "create 1");
    assert_eq!(told(&[made("v1", 1)]), "create 2");
    assert_eq!(told(&[made("v1", 1), made("v2", 2)]), "keep 2");
    assert_eq!(told(&[made("v2", 1), made("v1", 2)]), "renumber 1 to 3");
    let name = |it: &ControllerRevision| it.metadata.name.clone().unwrap();
    let one = made("v1", 1);
    assert_eq!(
        name(&one),
        format!("web-{}", one.metadata.labels.as_ref().unwrap()["controller.kubernetes.io/hash"])
    );
    assert_ne!(name(&one), name(&revision::made(&set, 1, 1)));

    let all = [made("a", 1), made("b", 2), made("c", 3), made("d", 4), made("e", 5)];
    let pods = [pod(&format!("web-0 {}", name(&all[0])))];
    let surplus = revision::surplus(&set, &all, &pods, [&name(&all[3]), &name(&all[4])]);
    assert_eq!(surplus.iter().map(|it| it.revision.unwrap()).collect::<Vec<_>>(), [2]);
}
