//! The working copy that a plan is made on.

use std::{cmp::Ordering, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::{revision, template};
use crate::portion::{Round, scaled};

/// A ReplicaSet as it is going to be.
pub(super) struct Set {
    pub(super) object: ReplicaSet,
    /// As it was; a set that is to be created has none.
    pub(super) original: Option<Arc<ReplicaSet>>,
    pub(super) delete: bool,
}

impl Set {
    pub(super) fn known(original: Arc<ReplicaSet>) -> Self {
        Self { object: (*original).clone(), original: Some(original), delete: false }
    }

    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// How many pods it is to have.
    pub(super) fn replicas(&self) -> i32 {
        self.object.spec.replicas.unwrap_or(1)
    }

    pub(super) fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    /// How many pods it has.
    pub(super) fn actual(&self) -> i32 {
        self.object.status.as_ref().map_or(0, |status| status.replicas)
    }

    pub(super) fn ready(&self) -> i32 {
        self.object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    pub(super) fn available(&self) -> i32 {
        self.object.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Oldest first; by name when made at once.
    pub(super) fn by_age(&self, other: &Set) -> Ordering {
        let made = |set: &Set| set.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        // A set still to be created is the youngest.
        let young = |set: &Set| made(set).is_none();
        young(self)
            .cmp(&young(other))
            .then_with(|| made(self).cmp(&made(other)))
            .then_with(|| self.name().cmp(other.name()))
    }
}

/// A deployment and its sets as they are going to be.
pub(super) struct Work {
    pub(super) deployment: Deployment,
    /// The set of the present template.
    pub(super) new: Option<Set>,
    /// The others, oldest first.
    pub(super) old: Vec<Set>,
    pub(super) now: Timestamp,
}

impl Work {
    pub(super) fn new(deployment: &Deployment, sets: Vec<Arc<ReplicaSet>>, now: Timestamp) -> Self {
        let mut old: Vec<Set> = sets.into_iter().map(Set::known).collect();
        old.sort_by(Set::by_age);
        // Two equal templates are a hash collision's legacy: the oldest is the one.
        let wanted = &deployment.spec.template;
        let newest = old
            .iter()
            .position(|set| set.object.spec.template.as_ref().is_some_and(|t| template::equal(t, wanted)));
        let new = newest.map(|index| old.remove(index));
        Self { deployment: deployment.clone(), new, old, now }
    }

    pub(super) fn name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn sets_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.old.iter_mut().chain(&mut self.new)
    }

    /// How many pods the deployment asks for.
    pub(super) fn wanted(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    pub(super) fn total(&self, count: impl Fn(&Set) -> i32) -> i32 {
        self.sets().fold(0, |sum, set| sum.saturating_add(count(set)))
    }

    fn strategy(&self) -> &str {
        self.deployment.spec.strategy.as_ref().and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate")
    }

    pub(super) fn is_rolling(&self) -> bool {
        self.strategy() == "RollingUpdate"
    }

    pub(super) fn is_recreate(&self) -> bool {
        self.strategy() == "Recreate"
    }

    /// Pods above and below the wanted number that a roll-out may have.
    fn margins(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let rolling = self.deployment.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        let wanted = self.wanted();
        let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), wanted, Round::Up);
        let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), wanted, Round::Down);
        // Both can round to zero, and then nothing would ever move.
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    pub(super) fn max_surge(&self) -> i32 {
        self.margins().0
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        if self.wanted() == 0 { 0 } else { self.margins().1.min(self.wanted()) }
    }

    /// The most pods at a time.
    pub(super) fn max_total(&self) -> i32 {
        self.wanted().saturating_add(self.max_surge())
    }

    pub(super) fn has_progress_deadline(&self) -> bool {
        self.deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
    }

    /// Gives `set` its size and notes the deployment's sizes on it.
    pub(super) fn resize(set: &mut Set, replicas: i32, sizes: Sizes) {
        set.object.spec.replicas = Some(replicas);
        revision::note_sizes(&mut set.object, sizes);
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { desired: self.wanted(), most: self.max_total() }
    }
}

/// The deployment's sizes, which its sets carry as annotations.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) desired: i32,
    pub(super) most: i32,
}
