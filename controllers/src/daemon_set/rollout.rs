//! Which pods an update replaces next.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{
    daemon::Place,
    plan::{Field, Plan, is_ending},
};

/// The pods of one node in an update.
#[derive(Default)]
struct Pair<'a> {
    new: Option<&'a Arc<Pod>>,
    old: Option<&'a Arc<Pod>>,
}

impl<'a> Pair<'a> {
    /// Of a node's pods; none when there are too many to tell.
    fn of(field: &Field<'_>, pods: &'a [Arc<Pod>]) -> Option<Self> {
        let mut pair = Self::default();
        for pod in pods.iter().filter(|pod| !is_ending(pod)) {
            let place = if field.is_updated(pod) { &mut pair.new } else { &mut pair.old };
            if place.replace(pod).is_some() {
                return None;
            }
        }
        Some(pair)
    }
}

/// The nodes that have pods or are to have one, with those pods.
fn nodes<'a>(field: &'a Field<'_>) -> impl Iterator<Item = (&'a str, &'a [Arc<Pod>])> {
    let with_pods = field.pods.iter().map(|(node, pods)| (node.as_str(), pods.as_slice()));
    let wanted = field.places.iter().filter(|(_, place)| **place == Place::Runs).map(|(node, _)| *node);
    let without: &[Arc<Pod>] = &[];
    with_pods.chain(wanted.filter(|node| !field.pods.contains_key(*node)).map(move |node| (node, without)))
}

/// Puts the next steps of an update into `plan`.
pub(super) fn roll(field: &Field<'_>, plan: &mut Plan) {
    match field.margins() {
        (0, unavailable) => replace(field, unavailable, plan),
        (surge, _) => exchange(field, surge, plan),
    }
}

/// Deletes old pods first; their nodes get new ones later.
fn replace(field: &Field<'_>, most: usize, plan: &mut Plan) {
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for (_, pods) in nodes(field) {
        match Pair::of(field, pods) {
            Some(Pair { new: Some(new), old: None }) => {
                unavailable += usize::from(!field.is_available(new));
            }
            Some(Pair { new: None, old: Some(old) }) if field.is_available(old) => candidates.push(old),
            Some(Pair { new: None, old: Some(old) }) => {
                // It costs nothing: it does not serve anyhow.
                plan.delete.push(old.clone());
                unavailable += 1;
            }
            // One is just coming or going.
            _ => unavailable += 1,
        }
    }
    plan.delete.extend(candidates.into_iter().take(most.saturating_sub(unavailable)).cloned());
}

/// Creates new pods beside the old ones, which go when the new ones serve.
fn exchange(field: &Field<'_>, most: usize, plan: &mut Plan) {
    let (mut surging, mut available) = (0, 0);
    let (mut candidates, mut leaving) = (Vec::new(), Vec::new());
    for (node, pods) in nodes(field) {
        let Some(pair) = Pair::of(field, pods) else {
            surging += 1;
            continue;
        };
        available += usize::from(pair.old.or(pair.new).is_some_and(|pod| field.is_available(pod)));
        let Some(old) = pair.old else { continue };
        match pair.new {
            Some(new) if field.is_available(new) => plan.delete.push(old.clone()),
            Some(_) => surging += 1,
            None => match (field.places.get(node), field.is_available(old)) {
                // Its node is gone, and it is going with it.
                (None, _) => {}
                (Some(Place::Runs), true) => candidates.push(node.to_owned()),
                (Some(Place::Runs), false) => plan.create.push(node.to_owned()),
                (Some(_), true) => leaving.push(old),
                (Some(_), false) => plan.delete.push(old.clone()),
            },
        }
    }
    let dispensable = available.saturating_sub(field.desired());
    plan.delete.extend(leaving.into_iter().take(dispensable).cloned());
    plan.create.extend(candidates.into_iter().take(most.saturating_sub(surging)));
}
