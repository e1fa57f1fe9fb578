use super::Pods;
use crate::resources::{
    Part,
    core::{podtemplates::PodTemplates, replicationcontrollers::ReplicationControllers},
    recorded::check,
};

#[test]
fn new_pods() {
    check(&Pods, Part::Whole, include_str!("recorded/new.json"));
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
