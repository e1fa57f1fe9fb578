//! Pods near others, or away from them: pod affinity and anti-affinity.
//!
//! Near is where a node's label has the same value. `near.rs` is what must
//! hold, `liking.rs` what is better; both ask the [`Tally`].

mod liking;
mod near;

use std::{collections::BTreeSet, sync::Arc};

use coracle_controllers::framework::Key;
use serde::Deserialize;

use super::tally::{Labels, Tally, Term};
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};
use liking::Liking;
use near::Near;

/// Upstream's `InterPodAffinityArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Args {
    /// What it is worth to be where another pod must have this one.
    pub hard_pod_affinity_weight: i64,
    /// What others would like counts only for pods that like something.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// What terms need to know of namespaces.
trait Namespaces {
    /// The term with the namespaces that it means now.
    fn resolve(&self, term: &Term) -> Term;
    /// The labels of a namespace.
    fn labels(&self, namespace: &str) -> Option<Arc<Labels>>;
}

impl Namespaces for Objects {
    fn resolve(&self, term: &Term) -> Term {
        if !term.selects_namespaces() {
            return term.clone();
        }
        let all = self.namespaces.all();
        let named = all.iter().filter_map(|namespace| {
            Some((namespace.metadata.name.as_deref()?, namespace.metadata.labels.as_ref()))
        });
        term.clone().resolve(named)
    }

    fn labels(&self, namespace: &str) -> Option<Arc<Labels>> {
        let namespace = self.namespaces.get(&Key::cluster(namespace))?;
        Some(Arc::new(namespace.metadata.labels.clone().unwrap_or_default()))
    }
}

pub(super) struct InterPodAffinity {
    args: Args,
    tally: Arc<Tally>,
    objects: Objects,
}

impl InterPodAffinity {
    pub(super) fn new(args: Args, tally: Arc<Tally>, objects: Objects) -> Self {
        Self { args, tally, objects }
    }
}

/// What the cycle's nodes are: scoring needs all of them, not only those that fit.
struct Nodes(Snapshot);

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded
                | Happening::NodeLabels
                | Happening::PodPlaced
                | Happening::PodRemoved
                | Happening::PodChanged
        )
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        near::helps(pod, event)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let near = Near::new(&mut self.tally.at(nodes), pod, &self.objects);
        let near = near.map_err(|error| Rejection::unresolvable(format!("parsing pod: {error}")))?;
        if let Some(near) = near {
            state.put(near);
        }
        state.put(Nodes(nodes.clone()));
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Near>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        state.get::<Near>().map_or(Ok(()), |near| near.filter(node))
    }

    fn suppose(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, more: i64) {
        if let Some(near) = state.get_mut::<Near>() {
            near.suppose(pod, other, node, more);
        }
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[&NodeInfo]) {
        let Some(Nodes(nodes)) = state.get::<Nodes>() else { return };
        let Args { hard_pod_affinity_weight, ignore_preferred_terms_of_existing_pods } = self.args;
        let liking = Liking::new(
            &mut self.tally.at(nodes),
            pod,
            &self.objects,
            hard_pod_affinity_weight,
            ignore_preferred_terms_of_existing_pods,
        );
        // A term that cannot be read was refused before.
        if let Ok(Some(liking)) = liking {
            state.put(liking);
        }
    }

    fn score_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Liking>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Option<i64> {
        Some(state.get::<Liking>()?.score(node))
    }

    fn normalize(&self, scores: &mut [i64]) {
        liking::normalize(scores);
    }
}
