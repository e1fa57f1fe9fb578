//! Which revision a set's template is, and which others are kept.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    deployment::template,
    history::{self, REVISION_LABEL, Revisions},
};

/// The revisions of a set.
pub(super) struct Turn {
    /// The one that its template is, unless it is new.
    pub(super) current: Option<Arc<ControllerRevision>>,
    /// Others that say the same.
    pub(super) duplicates: Vec<Arc<ControllerRevision>>,
    /// The others, sorted.
    pub(super) old: Vec<Arc<ControllerRevision>>,
    /// The number that the current one is to have at least.
    pub(super) number: i64,
}

/// Tells the revisions of `set` apart.
pub(super) fn turn(set: &DaemonSet, revisions: Vec<Arc<ControllerRevision>>) -> Turn {
    let data = history::snapshot(&set.spec.template);
    let (mut same, mut old): (Vec<_>, Vec<_>) =
        revisions.into_iter().partition(|revision| history::same(revision, &data));
    history::sort(&mut same);
    history::sort(&mut old);
    let number = old.last().and_then(|last| last.revision).unwrap_or(0).saturating_add(1);
    Turn { current: same.pop(), duplicates: same, old, number }
}

/// A new revision of the set's template.
pub(super) fn made(set: &DaemonSet, number: i64) -> ControllerRevision {
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let hash = template::hash(&set.spec.template, collisions);
    Revisions::made(set, &set.spec.template, (REVISION_LABEL, hash), number)
}

/// The hash that `labels` tell.
pub(super) fn hash(meta: &ObjectMeta) -> &str {
    let labels = meta.labels.as_ref();
    labels.and_then(|labels| labels.get(REVISION_LABEL)).map(String::as_str).unwrap_or_default()
}

/// The old revisions beyond the set's limit that no pod has; `old` is sorted.
pub(super) fn surplus<'a>(
    set: &DaemonSet,
    old: &'a [Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
) -> Vec<&'a Arc<ControllerRevision>> {
    let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let live: BTreeSet<&str> = pods.iter().map(|pod| hash(&pod.metadata)).collect();
    let surplus = old.len().saturating_sub(limit);
    let idle = old.iter().filter(|revision| !live.contains(hash(&revision.metadata)));
    idle.take(surplus).collect()
}
