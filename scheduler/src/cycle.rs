//! One pod's way to a node: filter, score, choose. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{Rng, rngs::StdRng};

use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::{CycleState, Plugin, Rejection},
    pod::PodInfo,
};

/// Up to this many nodes all are looked at.
const ALL_UP_TO: usize = 100;
/// The least share of nodes to find, in percent.
const LEAST_PERCENT: usize = 5;

/// What a cycle leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The pod goes to this node.
    Node(String),
    /// No node can take it.
    Unfit(Diagnosis),
    /// There is no node.
    NoNodes,
}

/// Why no node can take a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// Why each node that was looked at was rejected.
    pub rejected: BTreeMap<String, Rejection>,
    /// Why the others were not looked at.
    pub absent: Option<Rejection>,
    /// Why none had to be looked at.
    pub whole: Option<Rejection>,
    /// The rules that rejected.
    pub plugins: BTreeSet<&'static str>,
    /// What looking for room led to.
    pub room: Option<String>,
    /// The node on which there will be room.
    pub nominated: Option<String>,
}

/// Finds the node for `pod`.
///
/// With many nodes it stops when enough can take the pod; the next cycle goes
/// on where this one stopped, at `start`. Between equals `luck` decides.
pub fn schedule_one(
    plugins: &[Arc<dyn Plugin>],
    nodes: &Snapshot,
    pod: &PodInfo,
    start: &mut usize,
    luck: &mut StdRng,
) -> Decision {
    if nodes.nodes().is_empty() {
        return Decision::NoNodes;
    }
    let mut state = CycleState::default();
    let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
    let fitting = match pre_filter(plugins, &mut state, nodes, pod, &mut diagnosis) {
        Some(candidates) => filter(plugins, &state, &candidates, pod, start, &mut diagnosis),
        None => Vec::new(),
    };
    match fitting.as_slice() {
        [] => {
            make_room(plugins, &state, pod, &mut diagnosis);
            Decision::Unfit(diagnosis)
        }
        [only] => Decision::Node(only.name().to_owned()),
        _ => Decision::Node(best(plugins, &mut state, &fitting, pod, luck)),
    }
}

/// The nodes that come into question; none when a rule rejects them all.
fn pre_filter(
    plugins: &[Arc<dyn Plugin>],
    state: &mut CycleState,
    nodes: &Snapshot,
    pod: &PodInfo,
    diagnosis: &mut Diagnosis,
) -> Option<Vec<Arc<NodeInfo>>> {
    let mut named: Option<BTreeSet<String>> = None;
    let mut naming = BTreeSet::new();
    for plugin in plugins {
        match plugin.pre_filter(state, pod, nodes) {
            Ok(None) => {}
            Ok(Some(names)) => {
                naming.insert(plugin.name());
                named = Some(named.map_or(names.clone(), |named| &named & &names));
            }
            Err(rejection) => {
                diagnosis.plugins.insert(plugin.name());
                diagnosis.whole = Some(rejection);
                return None;
            }
        }
    }
    let Some(named) = named else { return Some(nodes.nodes().to_vec()) };
    let names: Vec<&str> = naming.iter().copied().collect();
    diagnosis.plugins.extend(naming.iter().copied());
    diagnosis.absent =
        Some(Rejection::unresolvable(format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "))));
    Some(named.iter().filter_map(|name| nodes.node(name).cloned()).collect())
}

fn filter(
    plugins: &[Arc<dyn Plugin>],
    state: &CycleState,
    candidates: &[Arc<NodeInfo>],
    pod: &PodInfo,
    start: &mut usize,
    diagnosis: &mut Diagnosis,
) -> Vec<Arc<NodeInfo>> {
    let enough = enough(candidates.len());
    let mut fitting = Vec::new();
    let mut looked_at = 0;
    let from = start.checked_rem(candidates.len()).unwrap_or(0);
    for node in candidates.iter().cycle().skip(from).take(candidates.len()) {
        looked_at += 1;
        let rejection = plugins
            .iter()
            .find_map(|p| p.filter(state, pod, node).err().map(|rejection| (p.name(), rejection)));
        match rejection {
            None => fitting.push(node.clone()),
            Some((plugin, rejection)) => {
                diagnosis.plugins.insert(plugin);
                diagnosis.rejected.insert(node.name().to_owned(), rejection);
            }
        }
        if fitting.len() >= enough {
            break;
        }
    }
    *start = (from + looked_at).checked_rem(candidates.len()).unwrap_or(0);
    fitting
}

/// How many fitting nodes are enough, of `nodes`.
fn enough(nodes: usize) -> usize {
    if nodes < ALL_UP_TO {
        return nodes.max(1);
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(ALL_UP_TO)
}

fn best(
    plugins: &[Arc<dyn Plugin>],
    state: &mut CycleState,
    fitting: &[Arc<NodeInfo>],
    pod: &PodInfo,
    luck: &mut StdRng,
) -> String {
    for plugin in plugins {
        plugin.pre_score(state, pod, fitting);
    }
    let mut totals = vec![0i64; fitting.len()];
    for plugin in plugins {
        let scores: Vec<Option<i64>> = fitting.iter().map(|node| plugin.score(state, pod, node)).collect();
        if scores.iter().all(Option::is_none) {
            continue;
        }
        let mut scores: Vec<i64> = scores.into_iter().map(Option::unwrap_or_default).collect();
        plugin.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total = total.saturating_add(score.saturating_mul(plugin.weight()));
        }
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<&Arc<NodeInfo>> =
        fitting.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| node).collect();
    let chosen = ties.get(luck.random_range(0..ties.len().max(1)));
    chosen.map(|node| node.name().to_owned()).unwrap_or_default()
}

fn make_room(plugins: &[Arc<dyn Plugin>], state: &CycleState, pod: &PodInfo, diagnosis: &mut Diagnosis) {
    let room = plugins.iter().find_map(|plugin| plugin.post_filter(state, pod, diagnosis));
    if let Some(room) = room {
        diagnosis.room = Some(room.message);
        diagnosis.nominated = room.nominated;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_nodes() {
        let table = [(1, 1), (99, 99), (100, 100), (150, 100), (1000, 420), (5000, 500), (10000, 500)];
        for (nodes, expected) in table {
            assert_eq!(enough(nodes), expected, "{nodes}");
        }
    }
}
