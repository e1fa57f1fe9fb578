use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::plan::{Observed, Plan, Write, plan};
use crate::merge::merge;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A deployment of image `v2` with ten pods, two more or two less allowed.
fn deployment(change: Value) -> Arc<Deployment> {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "a", "uid": "d", "generation": 2, "annotations": {}},
        "spec": {
            "replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 2}},
            "progressDeadlineSeconds": 600,
            "template": template("v2"),
        },
    });
    merge(&mut value, change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// A set of the deployment: `replicas` pods, of which `available`, sized for ten.
fn set(image: &str, replicas: i32, available: i32, change: Value) -> Arc<ReplicaSet> {
    let mut value = json!({
        "metadata": {
            "name": format!("web-{image}"), "namespace": "a", "uid": image, "generation": 1,
            "labels": {"app": "web"}, "creationTimestamp": format!("2024-01-01T00:00:{:0>2}Z", &image[1..]),
            "annotations": {"deployment.kubernetes.io/revision": &image[1..],
                "deployment.kubernetes.io/desired-replicas": "10", "deployment.kubernetes.io/max-replicas": "12"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
        "status": {"replicas": replicas, "availableReplicas": available, "readyReplicas": available, "observedGeneration": 1},
    });
    merge(&mut value, change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn planned(deployment: &Arc<Deployment>, sets: &[Arc<ReplicaSet>], now: i64) -> Plan {
    let observed = Observed { deployment: deployment.clone(), sets: sets.to_vec(), pods: vec![] };
    plan(&observed, at(now)).unwrap()
}

/// The plan's writes of sets, as text.
fn acts(plan: &Plan) -> Vec<String> {
    let mut acts = Vec::new();
    if let Some(set) = &plan.create {
        acts.push(format!("create {}", set.spec.replicas.unwrap_or(0)));
    }
    for update in &plan.update {
        let name = update.set.metadata.name.as_deref().unwrap_or_default();
        acts.push(match update.scaled {
            Some((from, to)) => format!("{name} {from}->{to}"),
            None => format!("{name} noted"),
        });
    }
    acts.extend(plan.delete.iter().map(|name| format!("delete {name}")));
    acts
}

fn written(plan: &Plan) -> Option<&Deployment> {
    match plan.write.as_ref()? {
        Write::Status(deployment) | Write::Whole(deployment) => Some(deployment),
    }
}

/// `Type=Status/Reason` of the conditions that the plan reports.
fn conditions(plan: &Plan) -> Vec<String> {
    let status = written(plan).and_then(|d| d.status.clone()).unwrap_or_default();
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let conditions = status.conditions.into_iter().flatten();
    conditions.map(|c| format!("{}={}/{}", text(&c.type_), text(&c.status), text(&c.reason))).collect()
}

#[test]
fn the_next_step() {
    let none = || json!({});
    let check = |change: Value, sets: Vec<Arc<ReplicaSet>>, expected: &[&str]| {
        assert_eq!(acts(&planned(&deployment(change.clone()), &sets, 100)), expected, "{change}");
    };
    // A first roll-out, and one with old pods: as many new ones as fit.
    check(none(), vec![], &["create 10"]);
    check(none(), vec![set("v1", 10, 10, none())], &["create 2", "web-v1 10->8"]);
    // Rolling: up first; down only by what can be spared.
    check(none(), vec![set("v1", 8, 8, none()), set("v2", 2, 0, none())], &["web-v2 2->4"]);
    check(none(), vec![set("v1", 8, 8, none()), set("v2", 4, 0, none())], &[]);
    check(none(), vec![set("v1", 8, 8, none()), set("v2", 4, 3, none())], &["web-v1 8->5"]);
    // What is not available anyway goes first, oldest set first.
    check(
        none(),
        vec![set("v0", 4, 1, none()), set("v1", 4, 4, none()), set("v2", 4, 4, none())],
        &["web-v0 4->0"],
    );
    // Rolling over: a third template while the second is on its way.
    check(
        json!({"spec": {"template": template("v3")}}),
        vec![set("v1", 8, 8, none()), set("v2", 4, 0, none())],
        &["create 0", "web-v2 4->0"],
    );
    // Re-creation: down to nothing, then up.
    let recreate = || json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    check(recreate(), vec![set("v1", 10, 10, none())], &["web-v1 10->0"]);
    check(recreate(), vec![set("v1", 0, 0, json!({"status": {"replicas": 3}}))], &[]);
    check(recreate(), vec![set("v1", 0, 0, none())], &["create 10"]);
    // A pause: no roll-out, but scaling.
    check(json!({"spec": {"paused": true}}), vec![set("v1", 10, 10, none())], &[]);
    check(
        json!({"spec": {"paused": true, "replicas": 5}}),
        vec![set("v1", 10, 10, none())],
        &["web-v1 10->5"],
    );
    // Being deleted: nothing but its status.
    check(
        json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}}),
        vec![set("v1", 9, 9, none())],
        &[],
    );
}

#[test]
fn scaling_is_in_proportion() {
    let check = |replicas: i32, sets: [(i32, i32); 3], expected: &[&str]| {
        let change = json!({"spec": {"replicas": replicas, "paused": true}});
        let sets: Vec<_> = sets
            .iter()
            .zip(["v1", "v2", "v3"])
            .map(|((size, most), image)| {
                set(image, *size, *size, json!({"metadata": {"annotations": {"deployment.kubernetes.io/max-replicas": most.to_string()}}}))
            })
            .collect();
        assert_eq!(acts(&planned(&deployment(change), &sets, 100)), expected, "to {replicas}");
    };
    check(20, [(5, 12), (5, 12), (2, 12)], &["web-v1 5->9", "web-v3 2->4", "web-v2 5->9"]);
    check(5, [(6, 12), (4, 12), (2, 12)], &["web-v1 6->4", "web-v3 2->1", "web-v2 4->2"]);
    check(0, [(6, 12), (4, 12), (2, 12)], &["web-v1 6->0", "web-v3 2->0", "web-v2 4->0"]);
    // Without the annotation the share cannot be told: all goes to the largest.
    check(14, [(6, 0), (4, 0), (2, 0)], &["web-v1 6->10", "web-v3 noted", "web-v2 noted"]);
}

#[test]
fn revisions_are_numbered_and_remembered() {
    let revision = |set: &ReplicaSet, name: &str| {
        set.metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(&format!("deployment.kubernetes.io/{name}")).cloned())
    };
    let made = planned(
        &deployment(
            json!({"metadata": {"annotations": {"mine": "1", "kubectl.kubernetes.io/last-applied-configuration": "x"}}}),
        ),
        &[set("v1", 0, 0, json!({}))],
        100,
    );
    let new = made.create.as_ref().unwrap();
    assert_eq!(revision(new, "revision").as_deref(), Some("2"));
    assert_eq!(revision(new, "desired-replicas").as_deref(), Some("10"));
    assert_eq!(new.metadata.annotations.as_ref().unwrap().get("mine").map(String::as_str), Some("1"));
    assert!(
        !new.metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key("kubectl.kubernetes.io/last-applied-configuration")
    );
    assert_eq!(
        written(&made).unwrap().metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"],
        "2"
    );
    let hash = &new.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(new.metadata.name, Some(format!("web-{hash}")));
    assert_eq!(&new.spec.selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);

    // Going back: the old set of this template becomes the newest.
    let back = planned(
        &deployment(json!({"spec": {"template": template("v1")}})),
        &[set("v1", 0, 0, json!({})), set("v2", 10, 10, json!({}))],
        100,
    );
    let renumbered = &back.update.iter().find(|u| u.set.metadata.uid.as_deref() == Some("v1")).unwrap().set;
    assert_eq!(revision(renumbered, "revision").as_deref(), Some("3"));
    assert_eq!(revision(renumbered, "revision-history").as_deref(), Some("1"));
}

#[test]
fn history_beyond_its_limit_goes_when_complete() {
    let complete = json!({"status": {"replicas": 10, "updatedReplicas": 10, "availableReplicas": 10, "observedGeneration": 2}});
    let check = |limit: i32, old: Vec<Arc<ReplicaSet>>, expected: &[&str]| {
        let mut change = complete.clone();
        merge(&mut change, json!({"spec": {"revisionHistoryLimit": limit, "template": template("v9")}}));
        let mut sets = old;
        sets.push(set("v9", 10, 10, json!({})));
        assert_eq!(acts(&planned(&deployment(change), &sets, 100)), expected);
    };
    let old = |image| set(image, 0, 0, json!({}));
    check(1, vec![old("v1"), old("v2"), old("v3")], &["delete web-v1", "delete web-v2"]);
    check(0, vec![old("v1")], &["delete web-v1"]);
    check(i32::MAX, vec![old("v1")], &[]);
    check(0, vec![set("v1", 0, 0, json!({"status": {"replicas": 2}}))], &[]);
    check(0, vec![set("v1", 0, 0, json!({"metadata": {"generation": 7}}))], &[]);
}

#[test]
fn progress_is_reported() {
    let progressing = |reason: &str, second: i64| {
        json!({"status": {"replicas": 10, "updatedReplicas": 5, "readyReplicas": 5, "availableReplicas": 5,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason,
                "lastUpdateTime": at(second).to_string(), "lastTransitionTime": at(second).to_string()}]}})
    };
    let check = |change: Value, sets: Vec<Arc<ReplicaSet>>, now: i64, expected: &[&str]| {
        assert_eq!(conditions(&planned(&deployment(change.clone()), &sets, now)), expected, "{change}");
    };
    let available = "Available=True/MinimumReplicasAvailable";
    let unavailable = "Available=False/MinimumReplicasUnavailable";
    check(json!({}), vec![], 100, &["Progressing=True/NewReplicaSetCreated", unavailable]);
    check(
        json!({}),
        vec![set("v2", 10, 10, json!({}))],
        100,
        &[available, "Progressing=True/NewReplicaSetAvailable"],
    );
    check(
        progressing("ReplicaSetUpdated", 50),
        vec![set("v2", 10, 7, json!({}))],
        100,
        &[unavailable, "Progressing=True/ReplicaSetUpdated"],
    );
    check(
        progressing("ReplicaSetUpdated", 50),
        vec![
            set("v2", 10, 5, json!({"status": {"replicas": 5}})),
            set("v1", 0, 0, json!({"status": {"replicas": 5}})),
        ],
        651,
        &[unavailable, "Progressing=False/ProgressDeadlineExceeded"],
    );
    check(
        json!({"spec": {"paused": true}}),
        vec![set("v2", 10, 10, json!({}))],
        100,
        &["Progressing=Unknown/DeploymentPaused", available],
    );
    check(
        progressing("DeploymentPaused", 5),
        vec![
            set("v2", 10, 5, json!({"status": {"replicas": 5}})),
            set("v1", 0, 0, json!({"status": {"replicas": 5}})),
        ],
        10,
        &["Progressing=Unknown/DeploymentResumed", unavailable],
    );
    check(
        json!({"spec": {"progressDeadlineSeconds": null}}),
        vec![set("v2", 10, 10, json!({}))],
        100,
        &[available],
    );
    let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]}});
    check(
        json!({"spec": {"progressDeadlineSeconds": null}}),
        vec![set("v2", 10, 10, failing)],
        100,
        &[available, "ReplicaFailure=True/FailedCreate"],
    );
}

#[test]
fn a_stuck_rollout_is_looked_at_again_after_its_deadline() {
    let deployment = deployment(json!({
        "metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}},
        "status": {"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "readyReplicas": 9, "availableReplicas": 9, "unavailableReplicas": 1, "terminatingReplicas": 0,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": at(100).to_string()}]},
    }));
    let plan = planned(&deployment, &[set("v2", 10, 9, json!({"status": {"terminatingReplicas": 0}}))], 400);
    assert!(plan.write.is_none() && acts(&plan).is_empty());
    assert_eq!(plan.again.map(|d| d.as_secs()), Some(301));
}

#[test]
fn going_back_by_annotation() {
    let to = |revision: &str| json!({"metadata": {"annotations": {"deprecated.deployment.rollback.to": revision}}});
    let sets = [set("v1", 0, 0, json!({})), set("v2", 10, 10, json!({}))];
    let check = |revision: &str, reason: &str, image: &str| {
        let plan = planned(&deployment(to(revision)), &sets, 100);
        let deployment = written(&plan).unwrap();
        let containers = &deployment.spec.template.spec.as_ref().unwrap().containers;
        assert_eq!(
            (plan.notes[0].reason, containers[0].image.as_deref()),
            (reason, Some(image)),
            "to {revision}"
        );
        assert!(
            !deployment
                .metadata
                .annotations
                .as_ref()
                .unwrap()
                .contains_key("deprecated.deployment.rollback.to")
        );
    };
    check("1", "DeploymentRollback", "v1");
    check("0", "DeploymentRollback", "v1");
    check("2", "DeploymentRollbackTemplateUnchanged", "v2");
    check("7", "DeploymentRollbackRevisionNotFound", "v2");
}

/// Plays a roll-out to its end: after each plan all pods that are asked for
/// run, and as many become available as `ready` allows each time.
fn play(strategy: Value, ready: i32) -> (i32, i32, usize) {
    let deployment = deployment(json!({"spec": {"strategy": strategy}}));
    let mut sets = vec![set("v1", 10, 10, json!({}))];
    let (mut most, mut least) = (0, i32::MAX);
    for round in 0..200 {
        let plan = planned(&deployment, &sets, 100);
        let done = acts(&plan).is_empty();
        if let Some(mut new) = plan.create {
            new.metadata.uid = Some("v2".into());
            new.metadata.name = Some("web-v2".into());
            new.metadata.creation_timestamp = serde_json::from_value(json!("2024-01-01T00:00:02Z")).unwrap();
            sets.push(Arc::new(new));
        }
        for update in plan.update {
            let at = sets.iter().position(|s| s.metadata.uid == update.set.metadata.uid).unwrap();
            sets[at] = Arc::new(update.set);
        }
        let (mut total, mut available, mut settled) = (0, 0, true);
        for set in &mut sets {
            let mut next = (**set).clone();
            let size = next.spec.replicas.unwrap();
            let status = next.status.get_or_insert_default();
            let before = status.available_replicas.unwrap_or(0);
            let now = size.min(before + ready);
            (status.replicas, status.available_replicas) = (size, Some(now));
            (total, available) = (total + size, available + now.min(before));
            settled &= now == before;
            *set = Arc::new(next);
        }
        (most, least) = (most.max(total), least.min(available));
        if done && settled {
            let sizes: Vec<_> = sets.iter().map(|s| s.spec.replicas.unwrap()).collect();
            assert_eq!(sizes, [0, 10], "after {round} rounds");
            return (most, least, round);
        }
    }
    panic!("the roll-out does not end");
}

#[test]
fn rollouts_end_within_their_margins() {
    let rolling = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    for ready in [1, 3, 100] {
        for (surge, unavailable, most, least) in [
            (json!(2), json!(2), 12, 8),
            (json!("25%"), json!("25%"), 13, 8),
            (json!(0), json!(1), 10, 9),
            (json!(1), json!(0), 11, 10),
            (json!("0%"), json!("0%"), 10, 9),
            (json!("100%"), json!(0), 20, 10),
            (json!(0), json!("100%"), 10, 0),
        ] {
            let (seen_most, seen_least, _) = play(rolling(surge.clone(), unavailable.clone()), ready);
            assert!(
                seen_most <= most && seen_least >= least,
                "{surge} {unavailable}: {seen_most} {seen_least}"
            );
        }
    }
}
