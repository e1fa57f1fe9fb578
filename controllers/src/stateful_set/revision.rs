//! Which of a set's revisions its pods are to have.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{Pod, PodTemplateSpec},
};

use super::identity;
use crate::history::{self, Revisions};

/// The label of revisions that tells their hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// What is to become the revision of the set's template.
#[derive(Debug)]
pub(super) enum Turn {
    /// The last one already is.
    Keep(Arc<ControllerRevision>),
    /// An earlier one comes back with this number.
    Renumber(Arc<ControllerRevision>, i64),
    /// A new one with this number.
    Create(i64),
}

/// Decides that for `revisions`, which are sorted.
pub(super) fn turn(set: &StatefulSet, revisions: &[Arc<ControllerRevision>]) -> Turn {
    let data = history::snapshot(&set.spec.template);
    let Some(last) = revisions.last() else { return Turn::Create(1) };
    let next = last.revision.unwrap_or(0).saturating_add(1);
    if history::same(last, &data) {
        return Turn::Keep(last.clone());
    }
    match revisions.iter().rev().find(|revision| history::same(revision, &data)) {
        Some(earlier) => Turn::Renumber(earlier.clone(), next),
        None => Turn::Create(next),
    }
}

/// A new revision of the set's template; its name differs with `collisions`.
pub(super) fn made(set: &StatefulSet, number: i64, collisions: i32) -> ControllerRevision {
    let hash = history::hash(&history::snapshot(&set.spec.template), collisions);
    Revisions::made(set, &set.spec.template, (HASH_LABEL, hash), number)
}

/// A revision that pods can be made of.
pub(super) struct Edition {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

impl Edition {
    /// Of `revision`; none when its data holds no template.
    pub(super) fn of(revision: &ControllerRevision) -> Option<Self> {
        let template = history::template(revision)?;
        Some(Self { name: revision.metadata.name.clone().unwrap_or_default(), template })
    }
}

/// The revisions that a reconcile works with.
pub(super) struct Editions {
    /// What pods had before the present update.
    pub(super) current: Edition,
    /// What the set's template is.
    pub(super) update: Edition,
    pub(super) collisions: i32,
}

/// The revisions beyond the set's limit that nothing uses; `revisions` are sorted.
pub(super) fn surplus(
    set: &StatefulSet,
    revisions: &[Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
    used: [&str; 2],
) -> Vec<Arc<ControllerRevision>> {
    let Ok(limit) = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)) else { return Vec::new() };
    let mut live: BTreeSet<&str> = pods.iter().map(|pod| identity::revision(pod)).collect();
    live.extend(used);
    let idle =
        |it: &&Arc<ControllerRevision>| !live.contains(it.metadata.name.as_deref().unwrap_or_default());
    let history: Vec<_> = revisions.iter().filter(idle).cloned().collect();
    let surplus = history.len().saturating_sub(limit);
    history.into_iter().take(surplus).collect()
}
