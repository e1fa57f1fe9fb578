//! The rules for the pods of one scheduler name, as they were configured.

use std::{collections::BTreeSet, sync::Arc};

use coracle_controllers::framework::{Error, Recorder};
use futures::future::BoxFuture;
use kube::Client;

use crate::{
    cache::{NodeInfo, Snapshot},
    configuration::{self, ConfigurationError, Points},
    cycle::Search,
    objects::Objects,
    plugin::{CycleState, Event, Happening, Permit, Plugin, Reads, Rejection, Room},
    plugins::configured_plugins,
    pod::PodInfo,
    shape::Shapes,
};

/// What sorts the queue here too; it cannot be replaced.
const QUEUE_SORT: &str = "PrioritySort";

/// A scheduler name and its rules.
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) percentage: usize,
    pub(crate) plugins: Vec<Arc<dyn Plugin>>,
    pub(crate) shapes: Shapes,
    pub(crate) events: Recorder,
}

/// The rules of a profile.
/// # Errors
/// It names a rule that does not exist, or tells one what it cannot be told.
pub(crate) fn rules(
    profile: &configuration::Profile,
    objects: &Objects,
) -> Result<Vec<Arc<dyn Plugin>>, ConfigurationError> {
    let invalid = |field, why| ConfigurationError::Invalid { field, why };
    let all =
        configured_plugins(objects, &profile.args).map_err(|why| invalid("profiles[].pluginConfig", why))?;
    let known = |name: &str| name == QUEUE_SORT || all.iter().any(|plugin| plugin.name() == name);
    let points = &profile.points;
    if let Some(name) = points.named().into_iter().find(|name| !known(name)) {
        return Err(invalid("profiles[].plugins", format!("{name} does not exist")));
    }
    if let Some(name) = profile.args.keys().find(|name| !known(name)) {
        return Err(invalid("profiles[].pluginConfig", format!("{name} does not exist")));
    }
    if points.queue_sort.verdict(QUEUE_SORT) == Some(false) {
        return Err(invalid("profiles[].plugins.queueSort", "no queue sort plugin is enabled".to_owned()));
    }
    let rules: Vec<Arc<dyn Plugin>> = all.into_iter().map(|inner| select(inner, points)).collect();
    if !rules.iter().any(|rule| rule.name() == "DefaultBinder" && binds(points)) {
        return Err(invalid("profiles[].plugins.bind", "at least one bind plugin is needed".to_owned()));
    }
    Ok(rules)
}

fn binds(points: &Points) -> bool {
    let everywhere = points.multi_point.verdict("DefaultBinder").unwrap_or(true);
    points.bind.verdict("DefaultBinder").unwrap_or(everywhere)
}

fn select(inner: Arc<dyn Plugin>, points: &Points) -> Arc<dyn Plugin> {
    let name = inner.name();
    let everywhere = points.multi_point.verdict(name).unwrap_or(true);
    let at = |set: &configuration::Set| set.verdict(name).unwrap_or(everywhere);
    let on = On {
        pre_enqueue: at(&points.pre_enqueue),
        pre_filter: at(&points.pre_filter),
        filter: at(&points.filter),
        post_filter: at(&points.post_filter),
        pre_score: at(&points.pre_score),
        score: at(&points.score),
        reserve: at(&points.reserve),
        permit: at(&points.permit),
        pre_bind: at(&points.pre_bind),
        bind: at(&points.bind),
        post_bind: at(&points.post_bind),
    };
    let weight = points.score.weight(name).or(points.multi_point.weight(name)).unwrap_or(inner.weight());
    if on == On::EVERYWHERE && weight == inner.weight() {
        return inner;
    }
    Arc::new(Selected { inner, on, weight })
}

/// The points at which a rule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each point is on or off by itself")]
struct On {
    pre_enqueue: bool,
    pre_filter: bool,
    filter: bool,
    post_filter: bool,
    pre_score: bool,
    score: bool,
    reserve: bool,
    permit: bool,
    pre_bind: bool,
    bind: bool,
    post_bind: bool,
}

impl On {
    const EVERYWHERE: Self = Self {
        pre_enqueue: true,
        pre_filter: true,
        filter: true,
        post_filter: true,
        pre_score: true,
        score: true,
        reserve: true,
        permit: true,
        pre_bind: true,
        bind: true,
        post_bind: true,
    };
}

/// A rule that runs at some points only, or counts differently.
struct Selected {
    inner: Arc<dyn Plugin>,
    on: On,
    weight: i64,
}

impl Plugin for Selected {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn report_to(&self, events: &Recorder) {
        self.inner.report_to(events);
    }

    fn weight(&self) -> i64 {
        self.weight
    }

    fn helped_by(&self, happening: Happening) -> bool {
        self.inner.helped_by(happening)
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        self.inner.helps(pod, event)
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        if self.on.pre_enqueue { self.inner.pre_enqueue(pod) } else { Ok(()) }
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        if self.on.pre_filter { self.inner.pre_filter(state, pod, nodes) } else { Ok(None) }
    }

    fn filter_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        if self.on.filter { self.inner.filter_reads(state, pod) } else { Reads::Nothing }
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        if self.on.filter { self.inner.filter(state, pod, node) } else { Ok(()) }
    }

    fn suppose(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, more: i64) {
        if self.on.pre_filter {
            self.inner.suppose(state, pod, other, node, more);
        }
    }

    fn post_filter(&self, search: &mut Search<'_>) -> Option<Room> {
        if self.on.post_filter { self.inner.post_filter(search) } else { None }
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, nodes: &[&NodeInfo]) {
        if self.on.pre_score {
            self.inner.pre_score(state, pod, nodes);
        }
    }

    fn score_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        if self.on.score { self.inner.score_reads(state, pod) } else { Reads::Nothing }
    }

    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        if self.on.score { self.inner.score(state, pod, node) } else { None }
    }

    fn normalize(&self, scores: &mut [i64]) {
        self.inner.normalize(scores);
    }

    fn reserve(&self, pod: &PodInfo, node: &str) -> Result<(), Rejection> {
        if self.on.reserve { self.inner.reserve(pod, node) } else { Ok(()) }
    }

    fn unreserve(&self, pod: &PodInfo, node: &str) {
        if self.on.reserve {
            self.inner.unreserve(pod, node);
        }
    }

    fn release<'a>(&'a self, client: &'a Client, pod: &'a PodInfo) -> Option<BoxFuture<'a, ()>> {
        if self.on.reserve { self.inner.release(client, pod) } else { None }
    }

    fn post_bind(&self, pod: &PodInfo, node: &str) {
        if self.on.post_bind {
            self.inner.post_bind(pod, node);
        }
    }

    fn permit(&self, pod: &PodInfo, node: &str) -> Result<Permit, Rejection> {
        if self.on.permit { self.inner.permit(pod, node) } else { Ok(Permit::Allow) }
    }

    fn pre_bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        if self.on.pre_bind { self.inner.pre_bind(client, pod, node) } else { None }
    }

    fn bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        if self.on.bind { self.inner.bind(client, pod, node) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Configuration;

    fn built(profile: Value) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let tree = json!({"apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration", "profiles": [profile]});
        let configuration = Configuration::parse(tree).map_err(|error| error.to_string())?;
        rules(&configuration.profiles[0], &Objects::default()).map_err(|error| error.to_string())
    }

    fn weight(rules: &[Arc<dyn Plugin>], name: &str) -> Option<i64> {
        rules.iter().find(|rule| rule.name() == name).map(|rule| rule.weight())
    }

    #[test]
    fn rules_are_switched_and_weighed() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "schedulingGates": [{"name": "g"}]}});
        let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let gated = |rules: &[Arc<dyn Plugin>]| rules.iter().any(|rule| rule.pre_enqueue(&pod).is_err());
        let plain = built(json!({})).unwrap();
        assert!(gated(&plain));
        let off = |points: Value| built(json!({"plugins": points})).unwrap();
        let gates = || json!([{"name": "SchedulingGates"}]);
        assert!(!gated(&off(json!({"preEnqueue": {"disabled": gates()}}))));
        assert!(!gated(&off(json!({"multiPoint": {"disabled": gates()}}))));
        assert!(gated(&off(
            json!({"multiPoint": {"disabled": gates()}, "preEnqueue": {"enabled": gates()}})
        )));
        let heavy = off(json!({"score": {"enabled": [{"name": "ImageLocality", "weight": 9}]}}));
        assert_eq!((weight(&plain, "ImageLocality"), weight(&heavy, "ImageLocality")), (Some(1), Some(9)));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let check = |profile: Value, expected: &str| {
            let error = built(profile).err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}), "Nope does not exist");
        check(json!({"pluginConfig": [{"name": "Nope", "args": {}}]}), "Nope does not exist");
        check(json!({"plugins": {"bind": {"disabled": [{"name": "*"}]}}}), "at least one bind plugin");
        let args = json!({"hardPodAffinityWeight": "x"});
        check(json!({"pluginConfig": [{"name": "InterPodAffinity", "args": args}]}), "InterPodAffinity");
    }
}
