//! Pods spread evenly over domains: nodes with the same value of a label.
//!
//! `constraint.rs` reads what a pod wants, `domains.rs` counts, `hard.rs` is
//! what must hold and `soft.rs` what is better.

mod constraint;
mod domains;
mod hard;
mod owners;
mod soft;

use std::{collections::BTreeSet, sync::Arc};

use coracle_api::selector::SelectorError;
use k8s_openapi::api::core::v1::{Node, TopologySpreadConstraint};
use serde::Deserialize;

use super::tally::Tally;
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};
use constraint::Constraint;
use hard::Hard;
use soft::Soft;

const HARD: &str = "DoNotSchedule";
const SOFT: &str = "ScheduleAnyway";

/// Upstream's `PodTopologySpreadArgs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Args {
    /// For pods that say nothing themselves.
    pub default_constraints: Vec<TopologySpreadConstraint>,
    /// `List`: those; `System` or nothing: upstream's.
    pub defaulting_type: Option<String>,
}

pub(super) struct PodTopologySpread {
    defaults: Vec<TopologySpreadConstraint>,
    /// The defaults are upstream's, which do not need all labels on a node.
    system: bool,
    tally: Arc<Tally>,
    objects: Objects,
}

impl PodTopologySpread {
    pub(super) fn new(args: Args, tally: Arc<Tally>, objects: Objects) -> Self {
        let system = args.defaulting_type.as_deref() != Some("List");
        let defaults = if system { upstream() } else { args.default_constraints };
        Self { defaults, system, tally, objects }
    }

    /// What `pod` wants of the kind `when`.
    fn constraints(&self, pod: &PodInfo, when: &str) -> Result<Vec<Constraint>, SelectorError> {
        let own = own(pod);
        if !own.is_empty() {
            return constraint::read(own, when, pod, None);
        }
        if !self.defaults.iter().any(|constraint| constraint.when_unsatisfiable == when) {
            return Ok(Vec::new());
        }
        let selector = owners::selector_of(pod, &self.objects);
        if selector.is_everything() {
            return Ok(Vec::new());
        }
        constraint::read(&self.defaults, when, pod, Some(&selector))
    }
}

fn own(pod: &PodInfo) -> &[TopologySpreadConstraint] {
    pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default()
}

fn upstream() -> Vec<TopologySpreadConstraint> {
    [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)]
        .map(|(key, max_skew)| TopologySpreadConstraint {
            max_skew,
            topology_key: key.into(),
            when_unsatisfiable: SOFT.into(),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

/// What the cycle's nodes are: scoring needs all of them, not only those that fit.
struct Nodes(Snapshot);

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded
                | Happening::NodeRemoved
                | Happening::NodeLabels
                | Happening::NodeTaints
                | Happening::PodPlaced
                | Happening::PodRemoved
                | Happening::PodChanged
        )
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let Ok(constraints) = self.constraints(pod, HARD) else { return true };
        let labelled = |node: &Node| {
            let labels = node.metadata.labels.as_ref();
            constraints.iter().all(|c| labels.is_some_and(|labels| labels.contains_key(&c.key)))
        };
        let counts = |other: &PodInfo| {
            constraints.iter().filter_map(|c| c.sort.as_ref()).any(|sort| sort.holds_ever(other))
        };
        let (before, after) = event.pods;
        let (old, new) = event.nodes;
        match event.what {
            Happening::PodPlaced | Happening::PodRemoved if before.or(after).is_some() => {
                before.is_some_and(counts) || after.is_some_and(counts)
            }
            _ if old.or(new).is_some() => old.is_some_and(labelled) || new.is_some_and(labelled),
            _ => true,
        }
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let constraints = self.constraints(pod, HARD).map_err(|error| {
            Rejection::unresolvable(format!("obtaining pod's hard topology spread constraints: {error}"))
        })?;
        if !constraints.is_empty() {
            state.put(Hard::new(&mut self.tally.at(nodes), constraints, pod));
        }
        state.put(Nodes(nodes.clone()));
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Hard>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        state.get::<Hard>().map_or(Ok(()), |hard| hard.filter(node))
    }

    fn suppose(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, more: i64) {
        if let Some(hard) = state.get_mut::<Hard>() {
            hard.suppose(pod, other, node, more);
        }
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, fitting: &[&NodeInfo]) {
        let Some(Nodes(nodes)) = state.get::<Nodes>() else { return };
        // A selector that cannot be read was refused before.
        let constraints = self.constraints(pod, SOFT).unwrap_or_default();
        if constraints.is_empty() {
            return;
        }
        let all = !own(pod).is_empty() || !self.system;
        let soft = Soft::new(&mut self.tally.at(nodes), &constraints, pod, fitting, all);
        state.put(soft);
    }

    fn score_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Soft>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Option<i64> {
        Some(state.get::<Soft>()?.score(node))
    }

    fn normalize(&self, scores: &mut [i64]) {
        soft::normalize(scores);
    }
}
