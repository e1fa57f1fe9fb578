//! Pods ask for nodes by label and name, or prefer some.

use std::collections::BTreeSet;

use coracle_controllers::node_selector::{Preferences, Selection};
use k8s_openapi::api::core::v1::{Node, NodeAffinity as Affinity, NodeSelectorTerm};
use serde::Deserialize;

use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection, stretch},
    pod::PodInfo,
};

/// Upstream's `NodeAffinityArgs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Args {
    /// What every pod of the profile wants besides its own.
    pub added_affinity: Option<Affinity>,
}

pub(super) struct NodeAffinity {
    added: Option<Selection>,
    preferred: Option<Preferences>,
}

impl NodeAffinity {
    pub(super) fn new(args: Args) -> Self {
        let added = args.added_affinity.unwrap_or_default();
        let required = added.required_during_scheduling_ignored_during_execution;
        let preferred = added.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
        Self {
            added: required.as_ref().map(Selection::of),
            preferred: (!preferred.is_empty()).then(|| Preferences::of(&preferred)),
        }
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeLabels)
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let selection = pod.spec().map(Selection::required).unwrap_or_default();
        let fits = |node: &Node| {
            selection.matches(node) && self.added.as_ref().is_none_or(|added| added.matches(node))
        };
        event.nodes.1.is_none_or(fits) && !event.nodes.0.is_some_and(fits)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        if let Some(selection) = pod.spec().map(Selection::required).filter(|selection| !selection.is_any()) {
            state.put(selection);
        }
        let preferred =
            affinity(pod).and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        if let Some(preferred) = preferred {
            state.put(Preferences::of(preferred));
        }
        match required_terms(pod).and_then(named) {
            Some(names) if names.is_empty() => Err(Rejection::unresolvable("pod affinity terms conflict")),
            names => Ok(names),
        }
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        let any = state.get::<Selection>().is_none() && self.added.is_none();
        if any { Reads::Nothing } else { Reads::Node }
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, info: &NodeInfo) -> Result<(), Rejection> {
        let Some(node) = &info.node else { return Ok(()) };
        if self.added.as_ref().is_some_and(|added| !added.matches(node)) {
            return Err(Rejection::unresolvable("node(s) didn't match scheduler-enforced node affinity"));
        }
        if state.get::<Selection>().is_none_or(|selection| selection.matches(node)) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }

    fn score_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        let any = state.get::<Preferences>().is_none() && self.preferred.is_none();
        if any { Reads::Nothing } else { Reads::Node }
    }

    fn score(&self, state: &CycleState, _: &PodInfo, info: &NodeInfo) -> Option<i64> {
        let own = state.get::<Preferences>();
        if own.is_none() && self.preferred.is_none() {
            return None;
        }
        let node = info.node.as_ref()?;
        Some([own, self.preferred.as_ref()].into_iter().flatten().map(|p| p.score(node)).sum())
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, false);
    }
}

fn affinity(pod: &PodInfo) -> Option<&Affinity> {
    pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()
}

/// The terms of which the node must meet one.
fn required_terms(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let required = affinity(pod)?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// The only nodes that the terms allow by name; none when one does not say.
fn named(terms: &[NodeSelectorTerm]) -> Option<BTreeSet<String>> {
    if terms.is_empty() {
        return None;
    }
    let mut names = BTreeSet::new();
    for term in terms {
        let by_name =
            term.match_fields.iter().flatten().filter(|r| r.key == "metadata.name" && r.operator == "In");
        let sets = by_name.map(|r| r.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
        names.extend(sets.reduce(|a, b| &a & &b)?);
    }
    Some(names)
}
