//! The two ways to replace old pods with new ones.

use k8s_openapi::api::core::v1::Pod;

use super::{
    revision,
    work::{Set, Work},
};
use crate::{framework::controls, pod};

/// Takes the next step of a rolling update: the new set up, or else the old ones down.
pub(super) fn rolling(work: &mut Work) {
    revision::sync(work, true);
    if !size_new(work) {
        shrink_old(work);
    }
}

/// Takes the next step of a re-creation: the old sets down, and when no pod
/// of theirs is left, the new one up.
pub(super) fn recreate(work: &mut Work, pods: &[impl AsRef<Pod>]) {
    revision::sync(work, false);
    let sizes = work.sizes();
    let mut shrunk = false;
    for set in work.old.iter_mut().filter(|set| set.is_active()) {
        Work::resize(set, 0, sizes);
        shrunk = true;
    }
    if shrunk || old_pods_run(work, pods) {
        return;
    }
    revision::sync(work, true);
    let wanted = work.wanted();
    if let Some(new) = work.new.as_mut().filter(|set| set.replicas() != wanted) {
        Work::resize(new, wanted, sizes);
    }
}

fn old_pods_run(work: &Work, pods: &[impl AsRef<Pod>]) -> bool {
    let is_new =
        |pod: &Pod| work.new.as_ref().is_some_and(|set| controls(&set.object.metadata, &pod.metadata));
    work.old.iter().any(|set| set.actual() > 0)
        || pods.iter().map(AsRef::as_ref).any(|pod| !pod::is_terminal(pod) && !is_new(pod))
}

/// How many pods the new set, which has `current`, may have now.
pub(super) fn new_size(work: &Work, current: i32) -> i32 {
    let wanted = work.wanted();
    if work.is_recreate() {
        return wanted;
    }
    let room = work.max_total() - work.total(Set::replicas);
    if room <= 0 { current } else { current + room.min(wanted - current) }
}

/// True when the new set's size changes.
fn size_new(work: &mut Work) -> bool {
    let (wanted, sizes) = (work.wanted(), work.sizes());
    let Some(current) = work.new.as_ref().map(Set::replicas) else { return false };
    let size = if current > wanted { wanted } else { new_size(work, current) };
    if size == current {
        return false;
    }
    if let Some(new) = &mut work.new {
        Work::resize(new, size, sizes);
    }
    true
}

/// Takes old pods away: first those that are not available anyway, then as
/// many as the deployment can spare.
fn shrink_old(work: &mut Work) {
    let Some(new) = &work.new else { return };
    let least = work.wanted() - work.max_unavailable();
    let unavailable = new.replicas() - new.available();
    let most = work.total(Set::replicas) - least - unavailable;
    if most <= 0 || work.old.iter().all(|set| !set.is_active()) {
        return;
    }
    let sizes = work.sizes();
    let mut left = most;
    for set in work.old.iter_mut().filter(|set| set.is_active()) {
        let take = left.min(set.replicas() - set.available()).max(0);
        if take > 0 {
            left -= take;
            Work::resize(set, set.replicas() - take, sizes);
        }
    }
    // The statuses are still those from before, as for upstream: pods just
    // taken away were not available and so were never counted.
    let mut spare = work.old.iter().filter(|set| is_or_was_active(set)).map(Set::available).sum::<i32>()
        + work.new.as_ref().map_or(0, Set::available)
        - least;
    for set in work.old.iter_mut().filter(|set| set.is_active()) {
        let take = spare.min(set.replicas());
        if take <= 0 {
            break;
        }
        spare -= take;
        Work::resize(set, set.replicas() - take, sizes);
    }
}

fn is_or_was_active(set: &Set) -> bool {
    set.is_active() || set.original.as_ref().is_some_and(|set| set.spec.replicas.unwrap_or(1) > 0)
}

/// Marks the old sets beyond the history limit that can go.
pub(super) fn clean_up(work: &mut Work) {
    let Some(limit) = work.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
        return;
    };
    let mut alive: Vec<&mut Set> =
        work.old.iter_mut().filter(|set| set.object.metadata.deletion_timestamp.is_none()).collect();
    let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by(|a, b| {
        let ages = a.by_age(b);
        match (revision::revision(a), revision::revision(b)) {
            (Some(first), Some(second)) => first.cmp(&second).then(ages),
            _ => ages,
        }
    });
    for set in alive.into_iter().take(surplus) {
        let observed = set.object.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        let settled = set.object.metadata.generation.unwrap_or(0) <= observed;
        let untouched = set.original.as_ref().is_some_and(|original| original.spec.replicas == Some(0));
        set.delete = set.actual() == 0 && !set.is_active() && untouched && settled;
    }
}
