use super::{
    controllerrevisions::ControllerRevisions, daemonsets::DaemonSets, deployments::Deployments,
    replicasets::ReplicaSets, statefulsets::StatefulSets,
};
use crate::resources::{Part, recorded::check};

#[test]
fn deployments() {
    check(&Deployments, Part::Whole, include_str!("recorded/deployments.new.json"));
    check(&Deployments, Part::Whole, include_str!("recorded/deployments.update.json"));
    check(&Deployments, Part::Status, include_str!("recorded/deployments.status.json"));
}

#[test]
fn replica_sets() {
    check(&ReplicaSets, Part::Whole, include_str!("recorded/replicasets.new.json"));
    check(&ReplicaSets, Part::Whole, include_str!("recorded/replicasets.update.json"));
    check(&ReplicaSets, Part::Status, include_str!("recorded/replicasets.status.json"));
}

#[test]
fn stateful_sets() {
    check(&StatefulSets, Part::Whole, include_str!("recorded/statefulsets.new.json"));
    check(&StatefulSets, Part::Status, include_str!("recorded/statefulsets.status.json"));
}

#[test]
fn stateful_sets_updated() {
    check(&StatefulSets, Part::Whole, include_str!("recorded/statefulsets.update.json"));
}

#[test]
fn daemon_sets() {
    check(&DaemonSets, Part::Whole, include_str!("recorded/daemonsets.new.json"));
    check(&DaemonSets, Part::Whole, include_str!("recorded/daemonsets.update.json"));
    check(&DaemonSets, Part::Status, include_str!("recorded/daemonsets.status.json"));
}

#[test]
fn controller_revisions() {
    check(&ControllerRevisions, Part::Whole, include_str!("recorded/controllerrevisions.new.json"));
}
