use coracle_api::Object;
use serde_json::json;

use super::Pods;
use crate::resources::{
    Part, Strategy, apps, batch,
    core::{podtemplates::PodTemplates, replicationcontrollers::ReplicationControllers},
    recorded::{check, check_made, check_tables},
};

#[test]
fn new_pods() {
    check(&Pods, Part::Whole, include_str!("recorded/new.json"));
}

#[test]
fn what_becomes_of_good_objects() {
    let strategies = |kind: &str| -> Box<dyn Strategy> {
        match kind {
            "Pod" => Box::new(Pods),
            "PodTemplate" => Box::new(PodTemplates),
            "ReplicationController" => Box::new(ReplicationControllers),
            "Deployment" => Box::new(apps::deployments::Deployments),
            "ReplicaSet" => Box::new(apps::replicasets::ReplicaSets),
            "StatefulSet" => Box::new(apps::statefulsets::StatefulSets),
            "DaemonSet" => Box::new(apps::daemonsets::DaemonSets),
            "Job" => Box::new(batch::jobs::Jobs),
            "CronJob" => Box::new(batch::cronjobs::CronJobs),
            other => panic!("no strategy of {other}"),
        }
    };
    check_made(strategies, include_str!("recorded/made.json"));
}

#[test]
fn tables() {
    check_tables(include_str!("recorded/tables.json"));
}

#[test]
fn restarts_tell_when_the_last_one_was() {
    let pod = json!({"status": {"containerStatuses": [
        {"name": "a", "restartCount": 2, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}},
        {"name": "b", "restartCount": 1, "lastState": {"terminated": {"finishedAt": "2025-01-01T00:00:00Z"}}},
    ]}});
    let pod = Object::from_value(pod).unwrap();
    let column = super::columns::COLUMNS.iter().find(|column| column.name == "Restarts").unwrap();
    let now = "2026-01-01T00:03:00Z".parse().unwrap();
    assert_eq!(column.cell.of(&pod, now), "3 (3m ago)");
}

#[test]
fn grace_of_deletions() {
    let cases = [
        (json!({"spec": {"terminationGracePeriodSeconds": 30}}), None, 0),
        (json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}), None, 30),
        (json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}), Some(5), 5),
        (json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}), Some(-5), 1),
        (
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Failed"}}),
            Some(5),
            0,
        ),
    ];
    for (pod, asked, expected) in cases {
        let object = Object::from_value(pod.clone()).unwrap();
        assert_eq!(Pods.grace(&object, asked), Some(expected), "{pod}");
    }
}

#[test]
fn updates_of_pods() {
    check(&Pods, Part::Whole, include_str!("recorded/update.json"));
}

#[test]
fn statuses_of_pods() {
    check(&Pods, Part::Status, include_str!("recorded/status.json"));
}

#[test]
fn ephemeral_containers() {
    check(&Pods, Part::Other("ephemeralcontainers"), include_str!("recorded/ephemeralcontainers.json"));
}

#[test]
fn resizes() {
    check(&Pods, Part::Other("resize"), include_str!("recorded/resize.json"));
}

#[test]
fn replication_controllers() {
    check(&ReplicationControllers, Part::Whole, include_str!("../recorded/replicationcontrollers.new.json"));
    check(
        &ReplicationControllers,
        Part::Status,
        include_str!("../recorded/replicationcontrollers.status.json"),
    );
}

#[test]
fn pod_templates() {
    check(&PodTemplates, Part::Whole, include_str!("../recorded/podtemplates.new.json"));
}
