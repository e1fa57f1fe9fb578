use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
};
use serde_json::{Value, json};

use super::{
    claims,
    plan::{Observed, Revision, Step, plan},
    status,
};

fn now() -> Timestamp {
    "2024-01-01T00:01:00Z".parse().expect("a time")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn set(spec: Value) -> Arc<StatefulSet> {
    let mut set = json!({
        "metadata": {"name": "db", "namespace": "a", "uid": "set", "generation": 2},
        "spec": {
            "replicas": 3, "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}},
        },
    });
    if let (Some(all), Some(more)) = (set["spec"].as_object_mut(), spec.as_object()) {
        all.extend(more.clone());
    }
    Arc::new(read(set))
}

// `NUMBER REVISION STATE`: `ready`, `starting`, `failed` or `ending`.
fn a_pod(text: &str) -> Arc<Pod> {
    let [number, revision, state] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let name = format!("db-{number}");
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"), "labels": {
            "app": "db", "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name,
        }},
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"},
        ]},
    });
    match state {
        "starting" => pod["status"] = json!({"phase": "Pending"}),
        "failed" => pod["status"] = json!({"phase": "Failed"}),
        "ending" => pod["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:30Z".into(),
        _ => {}
    }
    Arc::new(read(pod))
}

fn observed(spec: Value, pods: &[&str]) -> Observed {
    let revision = |name: &str| Revision { name: name.into(), template: PodTemplateSpec::default() };
    Observed {
        set: set(spec),
        pods: pods.iter().map(|text| a_pod(text)).collect(),
        claims: BTreeMap::new(),
        current: revision("old"),
        update: revision("new"),
    }
}

fn outcome(observed: &Observed) -> Vec<String> {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    let steps = plan(observed, now()).steps;
    let told = steps.iter().map(|step| match step {
        Step::Create(_, pod) => format!("+{}", name(pod)),
        Step::Claims(_, pod) => format!("c{}", name(pod)),
        Step::Mend(_, pod) => format!("~{}", name(pod)),
        Step::Delete(pod) => format!("-{}", name(pod)),
    });
    told.collect()
}

fn check(spec: Value, pods: &[&str], expected: &[&str]) {
    assert_eq!(outcome(&observed(spec.clone(), pods)), expected, "{spec} {pods:?}");
}

#[test]
fn an_ordered_set_goes_one_by_one() {
    check(json!({}), &[], &["+db-0"]);
    check(json!({}), &["0 new starting"], &[]);
    check(json!({}), &["0 new ready"], &["+db-1"]);
    check(json!({}), &["0 new ending", "1 new ready", "2 new ready"], &[]);
    check(json!({}), &["0 new failed", "1 new ready"], &["-db-0"]);
    check(json!({"replicas": 1}), &["0 new ready", "1 new ready", "2 new ready"], &["-db-2"]);
    check(json!({"replicas": 1}), &["0 new ready", "1 new ready", "2 new ending"], &[]);
    check(json!({"replicas": 1}), &["0 new ready", "1 new starting", "2 new ready"], &["-db-2"]);
    check(json!({"replicas": 2, "ordinals": {"start": 5}}), &["5 new ready"], &["+db-6"]);
    check(json!({"replicas": 1, "minReadySeconds": 90}), &["0 new ready", "1 new ready"], &[]);
}

#[test]
fn a_parallel_set_goes_all_at_once() {
    let parallel = |more: Value| {
        let mut spec = json!({"podManagementPolicy": "Parallel"});
        if let (Some(all), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        spec
    };
    check(parallel(json!({})), &[], &["+db-0", "+db-1", "+db-2"]);
    check(parallel(json!({})), &["1 new starting"], &["+db-0", "+db-2"]);
    check(
        parallel(json!({"replicas": 1})),
        &["0 new ready", "1 new starting", "2 new ready"],
        &["-db-2", "-db-1"],
    );
    let two = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}});
    check(parallel(two.clone()), &["0 old ready", "1 old ready", "2 old ready"], &["-db-2", "-db-1"]);
    check(parallel(two), &["0 old starting", "1 old ready", "2 new starting"], &["-db-0"]);
}

#[test]
fn updates_go_from_the_last_on() {
    let rolling =
        |fields: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": fields}});
    check(rolling(json!({})), &["0 old ready", "1 old ready", "2 old ready"], &["-db-2"]);
    check(rolling(json!({})), &["0 old ready", "1 old ready", "2 new starting"], &[]);
    check(rolling(json!({})), &["0 old ready", "1 old ready", "2 new ready"], &["-db-1"]);
    check(rolling(json!({"partition": 2})), &["0 old ready", "1 old ready", "2 new ready"], &[]);
    check(
        rolling(json!({"maxUnavailable": "70%"})),
        &["0 old ready", "1 old ready", "2 old ready"],
        &["-db-2", "-db-1"],
    );
    check(
        json!({"updateStrategy": {"type": "OnDelete"}}),
        &["0 old ready", "1 old ready", "2 old ready"],
        &[],
    );
    // What comes back below the partition is what it was.
    let observed = observed(rolling(json!({"partition": 1})), &[]);
    let Some(Step::Create(_, pod)) = plan(&observed, now()).steps.into_iter().next() else {
        panic!("no pod")
    };
    assert_eq!(super::replica::revision(&pod), "old");
}

#[test]
fn pods_have_names_and_claims() {
    let templates = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let observed = observed(json!({"volumeClaimTemplates": templates}), &[]);
    let Some(Step::Create(_, pod)) = plan(&observed, now()).steps.into_iter().next() else {
        panic!("no pod")
    };
    assert_eq!(
        serde_json::to_value(&pod.metadata.labels).expect("JSON"),
        json!({
            "apps.kubernetes.io/pod-index": "0",
            "controller-revision-hash": "new",
            "statefulset.kubernetes.io/pod-name": "db-0",
        })
    );
    let spec = pod.spec.expect("a spec");
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-0"), Some("db")));
    let volumes = serde_json::to_value(spec.volumes).expect("JSON");
    assert_eq!(volumes, json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]));
}

#[test]
fn claims_are_owned_as_the_policy_says() {
    let check = |policy: Value, ordinal: i32, owners: Value, expected: Option<&[&str]>| {
        let set = set(json!({"persistentVolumeClaimRetentionPolicy": policy}));
        let pod = a_pod(&format!("{ordinal} new ready"));
        let claim: PersistentVolumeClaim =
            read(json!({"metadata": {"name": "c", "ownerReferences": owners}}));
        let found = claims::owners(&set, &claim, &pod, ordinal);
        let uids = found.map(|all| all.into_iter().map(|it| it.uid).collect::<Vec<_>>());
        let expected = expected.map(|all| all.iter().map(|uid| (*uid).to_owned()).collect());
        assert_eq!(uids, expected, "{policy} {ordinal} {owners}");
    };
    let policy = |deleted: &str, scaled: &str| json!({"whenDeleted": deleted, "whenScaled": scaled});
    let owner = |kind: &str, name: &str, uid: &str| {
        let group = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!([{"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": true}])
    };
    check(policy("Retain", "Retain"), 0, json!([]), None);
    check(policy("Retain", "Retain"), 0, owner("StatefulSet", "db", "set"), Some(&[]));
    check(policy("Delete", "Retain"), 0, json!([]), Some(&["set"]));
    check(policy("Delete", "Retain"), 0, owner("StatefulSet", "db", "set"), None);
    check(policy("Delete", "Retain"), 7, json!([]), Some(&["set"]));
    check(policy("Retain", "Delete"), 0, json!([]), None);
    check(policy("Retain", "Delete"), 7, json!([]), Some(&["uid-db-7"]));
    check(policy("Delete", "Delete"), 7, owner("StatefulSet", "db", "set"), Some(&["uid-db-7"]));
    check(policy("Delete", "Delete"), 0, owner("StatefulSet", "db", "earlier"), None);
    check(policy("Delete", "Delete"), 0, owner("Operator", "x", "other"), None);
}

#[test]
fn the_status_counts_and_an_update_ends() {
    let check = |pods: &[&str], expected: Value| {
        let observed = observed(json!({}), pods);
        let status = status::status(&observed, &plan(&observed, now()), None, now());
        let status = serde_json::to_value(status).expect("JSON");
        for (name, value) in expected.as_object().expect("fields") {
            assert_eq!(&status[name], value, "{name} of {pods:?}");
        }
    };
    check(
        &["0 old ready", "1 old ready", "2 new starting"],
        json!({"replicas": 3, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 1, "currentRevision": "old"}),
    );
    check(
        &["0 old ready", "1 old ready", "2 old ready"],
        json!({"currentReplicas": 2, "currentRevision": "old"}),
    );
    check(
        &["0 new ready", "1 new ready", "2 new ready"],
        json!({"currentReplicas": 3, "updatedReplicas": 3, "currentRevision": "new"}),
    );
}
