//! Makes room for a pod that fits nowhere, at the cost of less important ones.
//!
//! Start at [`DefaultPreemption`]: it looks at each node that rejected the pod
//! because of other pods (`victims`), and chooses the node where going costs
//! the least (`candidate`). It only decides; `evict` carries out, while other
//! pods are placed.

mod budgets;
mod candidate;
pub(crate) mod evict;
#[cfg(test)]
mod tests;
mod victims;

use rand::Rng;
use serde::Deserialize;

use crate::{
    cycle::{Diagnosis, Search},
    extender,
    objects::Objects,
    plugin::{CycleState, Nomination, Plugin, Reads, Rejection, Room},
    pod::PodInfo,
    report,
};
use budgets::Budgets;
use candidate::Candidate;

/// What users of the plugin may set, `DefaultPreemptionArgs` upstream.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Args {
    /// The least share of nodes on which to look for room, in percent.
    pub min_candidate_nodes_percentage: usize,
    /// The least number of them.
    pub min_candidate_nodes_absolute: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

impl Args {
    fn enough(&self, nodes: usize) -> usize {
        let share = nodes.saturating_mul(self.min_candidate_nodes_percentage) / 100;
        share.max(self.min_candidate_nodes_absolute).min(nodes)
    }
}

/// Less important pods go where a more important one fits nowhere.
pub(crate) struct DefaultPreemption {
    args: Args,
    objects: Objects,
}

impl DefaultPreemption {
    pub(crate) fn new(args: Args, objects: Objects) -> Self {
        Self { args, objects }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn post_filter(&self, search: &mut Search<'_>) -> Option<Room> {
        if let Some(why) = ineligible(search) {
            return Some(Room::none(Nomination::Keep, format!("preemption: {why}")));
        }
        let (candidates, rejected) = self.candidates(search);
        let candidates = match left(search, candidates) {
            Ok(candidates) => candidates,
            Err(error) => return Some(Room::none(Nomination::Keep, error)),
        };
        let Some(best) = candidate::best(candidates, search.moment.now) else {
            let inner = Diagnosis {
                nodes: search.diagnosis.nodes,
                rejected,
                absent: Some(Rejection::unresolvable("Preemption is not helpful for scheduling")),
                ..Diagnosis::default()
            };
            let message = format!("preemption: {}", report::message(&inner));
            return Some(Room::none(Nomination::Clear, message));
        };
        let message = format!(
            "preemption: found a potential placement for pod on node {}, preempting {} victims",
            best.node,
            best.victims.len()
        );
        Some(Room { victims: best.victims, ..Room::none(Nomination::On(best.node), message) })
    }
}

impl DefaultPreemption {
    /// Where there could be room, and why there cannot be elsewhere.
    fn candidates(
        &self,
        search: &mut Search<'_>,
    ) -> (Vec<Candidate>, std::collections::BTreeMap<String, Rejection>) {
        let mut rejected = std::collections::BTreeMap::new();
        let nodes = search.moment.nodes;
        // Rejected as a whole, the pod was not looked at by all rules.
        if search.diagnosis.whole.is_some() {
            return (Vec::new(), rejected);
        }
        let explicit = search.diagnosis.rejected.iter().filter(|(_, rejection)| rejection.resolvable);
        let promising: Vec<_> = explicit.filter_map(|(name, _)| nodes.node(name)).collect();
        if promising.is_empty() {
            return (Vec::new(), rejected);
        }
        let budgets = self.objects.budgets.all();
        let enough = self.args.enough(promising.len());
        let offset = search.luck.random_range(0..promising.len());
        let (mut harmless, mut harmful) = (Vec::new(), Vec::new());
        for node in promising.iter().cycle().skip(offset).take(promising.len()) {
            let mut allowed = Budgets::new(&budgets);
            match victims::select(search.moment, search.state, search.pod, node, &mut allowed) {
                Ok(candidate) if candidate.violations == 0 => harmless.push(candidate),
                Ok(candidate) => harmful.push(candidate),
                Err(rejection) => {
                    rejected.insert(node.name().to_owned(), rejection);
                }
            }
            if !harmless.is_empty() && harmless.len() + harmful.len() >= enough {
                break;
            }
        }
        harmless.append(&mut harmful);
        (harmless, rejected)
    }
}

/// What extenders leave of the candidates.
fn left(search: &Search<'_>, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, String> {
    if search.moment.extenders.is_empty() || candidates.is_empty() {
        return Ok(candidates);
    }
    let victims = candidates.into_iter().map(|it| (it.node, (it.victims, it.violations))).collect();
    let on = |node: &str, uid: &str| {
        search.moment.nodes.node(node)?.pods.values().find(|pod| pod.uid == uid).cloned()
    };
    let left = extender::preemptible(search.moment.extenders, search.pod, victims, on)?;
    let each = left.into_iter().map(|(node, (victims, violations))| Candidate { node, victims, violations });
    Ok(each.collect())
}

/// Why no pod may go for this one.
fn ineligible(search: &Search<'_>) -> Option<&'static str> {
    let pod = search.pod;
    if pod.spec().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = pod.nominated()?;
    if search.diagnosis.rejection(nominated).is_some_and(|rejection| !rejection.resolvable) {
        return None;
    }
    let node = search.moment.nodes.node(nominated)?;
    let leaving = |other: &PodInfo| other.priority() < pod.priority() && evict::is_leaving(&other.pod);
    let waits = node.pods.values().any(|other| leaving(other));
    waits.then_some("not eligible due to a terminating pod on the nominated node.")
}
