//! Who must go for a pod to fit on a node.

use std::{cmp::Reverse, sync::Arc};

use crate::{
    cache::NodeInfo,
    cycle::{Moment, refused, suppose},
    plugin::{CycleState, Rejection},
    pod::PodInfo,
};

use super::{budgets::Budgets, candidate::Candidate};

/// The fewest pods of `node` that must go, keeping those that a budget guards
/// and the more important ones where that is possible. `state` is afterwards
/// as it was.
/// # Errors
/// The pod does not fit even when all less important pods go.
pub(super) fn select(
    moment: &Moment<'_>,
    state: &mut CycleState,
    pod: &PodInfo,
    node: &NodeInfo,
    budgets: &mut Budgets<'_>,
) -> Result<Candidate, Rejection> {
    let lower = node.pods.values().filter(|other| other.priority() < pod.priority());
    let mut possible: Vec<Arc<PodInfo>> = lower.cloned().collect();
    if possible.is_empty() {
        return Err(Rejection::unresolvable("No preemption victims found for incoming pod"));
    }
    let mut trial = Trial { moment, state, pod, node: node.clone() };
    possible.iter().for_each(|other| trial.without(other));
    if let Some(rejection) = trial.rejection() {
        possible.iter().for_each(|other| trial.with(other));
        return Err(rejection);
    }
    possible.sort_by_key(|other| importance(other, moment));
    let (guarded, free): (Vec<_>, Vec<_>) =
        possible.into_iter().partition(|other| budgets.violates(&other.pod));
    let mut victims = trial.keep(guarded);
    let violations = victims.len();
    victims.extend(trial.keep(free));
    victims.iter().for_each(|victim| trial.with(victim));
    if victims.is_empty() {
        let text = format!("expected at least one victim pod on node {:?}", node.name());
        return Err(Rejection::unresolvable(text));
    }
    victims.sort_by_key(|victim| importance(victim, moment));
    Ok(Candidate { node: node.name().to_owned(), victims, violations })
}

/// The most important first.
fn importance(pod: &PodInfo, moment: &Moment<'_>) -> (Reverse<i32>, jiff::Timestamp) {
    (Reverse(pod.priority()), pod.started(moment.now))
}

/// A node on which pods come and go in thought.
struct Trial<'a> {
    moment: &'a Moment<'a>,
    state: &'a mut CycleState,
    pod: &'a PodInfo,
    node: NodeInfo,
}

impl Trial<'_> {
    fn without(&mut self, other: &PodInfo) {
        self.node.remove(&other.uid);
        suppose(self.moment.plugins, self.state, self.pod, other, &self.node, -1);
    }

    fn with(&mut self, other: &Arc<PodInfo>) {
        self.node.add(other.clone());
        suppose(self.moment.plugins, self.state, self.pod, other, &self.node, 1);
    }

    fn rejection(&mut self) -> Option<Rejection> {
        refused(self.moment, self.state, self.pod, &self.node).map(|(_, rejection)| rejection)
    }

    /// Puts back who need not go; the others are returned.
    fn keep(&mut self, pods: Vec<Arc<PodInfo>>) -> Vec<Arc<PodInfo>> {
        let mut going = Vec::new();
        for other in pods {
            self.with(&other);
            if self.rejection().is_some() {
                self.without(&other);
                going.push(other);
            }
        }
        going
    }
}
