//! Revisions: the annotations that number a deployment's templates, their
//! history, and going back to one.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    rollout, status,
    template::{select_hash, with_hash, without_hash},
    work::{Set, Sizes, Work},
};
use crate::framework::controller_reference;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK: &str = "deprecated.deployment.rollback.to";
/// Annotations of a deployment that its sets do not take over.
const OWN: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MOST, ROLLBACK];
/// Characters of history that are kept.
const HISTORY_LONGEST: usize = 2000;
/// The longest name of a set.
const NAME_LONGEST: usize = 253;

/// The revision that a set carries; `None` when it is not a number.
pub(super) fn revision(set: &Set) -> Option<i64> {
    set.annotation(REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// Notes the deployment's sizes on a set.
pub(super) fn note_sizes(set: &mut ReplicaSet, sizes: Sizes) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), sizes.desired.to_string());
    annotations.insert(MOST.into(), sizes.most.to_string());
}

/// Numbers the new set, making it first where `create` and none is there,
/// and gives its number to the deployment.
pub(super) fn sync(work: &mut Work, create: bool) {
    let next = work.old.iter().filter_map(revision).max().unwrap_or(0).max(0) + 1;
    let annotations = work.deployment.metadata.annotations.clone().unwrap_or_default();
    let number = match &mut work.new {
        Some(set) => {
            annotate(&mut set.object, &annotations, next);
            set.object.spec.min_ready_seconds = work.deployment.spec.min_ready_seconds;
            let message = format!("Found new replica set \"{}\"", set.name());
            let number = set.annotation(REVISION).unwrap_or_default().to_owned();
            if work.has_progress_deadline() && status::progressing(&work.deployment).is_none() {
                status::set_progressing(work, "True", "FoundNewReplicaSet", message);
            }
            number
        }
        None if create => {
            let set = made(work, &annotations, next);
            let message = format!("Created new replica set \"{}\"", set.name());
            work.new = Some(set);
            if work.has_progress_deadline() {
                status::set_progressing(work, "True", "NewReplicaSetCreated", message);
            }
            next.to_string()
        }
        None => return,
    };
    work.deployment.metadata.annotations.get_or_insert_default().insert(REVISION.into(), number);
}

fn made(work: &Work, annotations: &BTreeMap<String, String>, revision: i64) -> Set {
    let deployment = &work.deployment;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = super::template::hash(&deployment.spec.template, collisions);
    let template = with_hash(&deployment.spec.template, &hash);
    let mut object = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(set_name(work.name(), &hash)),
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector: select_hash(&deployment.spec.selector, &hash),
            template: Some(template),
        },
        status: None,
    };
    object.spec.replicas = Some(rollout::new_size(work, 0));
    annotate(&mut object, annotations, revision);
    note_sizes(&mut object, work.sizes());
    Set { object, original: None, delete: false }
}

fn set_name(deployment: &str, hash: &str) -> String {
    let room = NAME_LONGEST.saturating_sub(hash.len() + 1);
    let prefix = deployment.get(..room).unwrap_or(deployment);
    format!("{prefix}-{hash}")
}

/// Copies the deployment's annotations to a set and raises its revision; a
/// revision that it had goes into its history.
fn annotate(set: &mut ReplicaSet, from: &BTreeMap<String, String>, next: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in from.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        annotations.insert(key.clone(), value.clone());
    }
    let before = annotations.get(REVISION).cloned();
    let Ok(number) = before.as_deref().filter(|text| !text.is_empty()).unwrap_or("0").parse::<i64>() else {
        return;
    };
    if number >= next {
        return;
    }
    annotations.insert(REVISION.into(), next.to_string());
    if let Some(before) = before {
        let history = annotations.get(HISTORY).map(String::as_str).unwrap_or_default();
        if let Some(history) = extended(history, &before) {
            annotations.insert(HISTORY.into(), history);
        }
    }
}

/// `history` and `revision`, without the oldest where it would be too long.
fn extended(history: &str, revision: &str) -> Option<String> {
    let mut kept: Vec<&str> = history.split(',').filter(|part| !part.is_empty()).chain([revision]).collect();
    while kept.len() > 1 && kept.iter().map(|part| part.len() + 1).sum::<usize>() - 1 > HISTORY_LONGEST {
        kept.remove(0);
    }
    let history = kept.join(",");
    (history.len() <= HISTORY_LONGEST).then_some(history)
}

/// The revision that the deployment is asked to go back to; zero is the last.
pub(super) fn rollback_to(deployment: &Deployment) -> Option<i64> {
    deployment.metadata.annotations.as_ref()?.get(ROLLBACK)?.parse().ok()
}

/// How going back went.
pub(super) enum Rollback {
    Done(i64),
    NoLast,
    NotFound,
    Unchanged,
}

/// The deployment after going back to `target`.
pub(super) fn roll_back(work: &Work, target: i64) -> (Deployment, Rollback) {
    let mut deployment = work.deployment.clone();
    if let Some(annotations) = &mut deployment.metadata.annotations {
        annotations.remove(ROLLBACK);
    }
    let mut numbers: Vec<i64> = work.sets().filter_map(revision).collect();
    numbers.sort_unstable();
    let last = numbers.iter().rev().nth(1).copied().unwrap_or(0);
    let target = if target == 0 { last } else { target };
    if target == 0 {
        return (deployment, Rollback::NoLast);
    }
    let Some(set) = work.sets().find(|set| revision(set) == Some(target)) else {
        return (deployment, Rollback::NotFound);
    };
    let Some(template) = &set.object.spec.template else { return (deployment, Rollback::NotFound) };
    if super::template::equal(template, &deployment.spec.template) {
        return (deployment, Rollback::Unchanged);
    }
    deployment.spec.template = without_hash(template);
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| OWN.contains(&key.as_str()));
    for (key, value) in set.object.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    (deployment, Rollback::Done(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_drops_its_oldest_when_full() {
        assert_eq!(extended("", "1").as_deref(), Some("1"));
        assert_eq!(extended("1,2", "4").as_deref(), Some("1,2,4"));
        let full: Vec<String> = (0..500).map(|n| format!("{}", 100 + n)).collect();
        let history = extended(&full.join(","), "777").unwrap();
        assert!(history.len() <= HISTORY_LONGEST && history.ends_with(",777"));
        assert_eq!(extended("", &"9".repeat(3000)), None);
    }

    #[test]
    fn long_names_leave_room_for_the_hash() {
        assert_eq!(set_name("web", "abc"), "web-abc");
        assert_eq!(set_name(&"x".repeat(300), "abc").len(), NAME_LONGEST);
    }
}
