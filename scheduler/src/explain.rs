//! Every rule's word on every node, for who wants to know why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cache::{NodeInfo, Snapshot},
    cycle::Diagnosis,
    plugin::{CycleState, Plugin, Rejection},
    pod::PodInfo,
    report,
};

/// What the rules say of a pod.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Which rule rejected which node, and why.
    pub rejected: BTreeMap<String, (&'static str, Rejection)>,
    /// By node that can take the pod, then by rule: weighed scores.
    pub scores: BTreeMap<String, BTreeMap<&'static str, i64>>,
    diagnosis: Diagnosis,
}

impl Explanation {
    /// What the user is told when nodes that could take the pod are refused
    /// too, because of `reason`.
    pub fn message(&self, reason: &str) -> String {
        let mut diagnosis = self.diagnosis.clone();
        for node in self.scores.keys() {
            diagnosis.rejected.insert(node.clone(), Rejection::unresolvable(reason));
        }
        report::message(&diagnosis)
    }
}

/// Asks every rule about every node.
pub fn explain(plugins: &[Arc<dyn Plugin>], nodes: &Snapshot, pod: &PodInfo) -> Explanation {
    let mut state = CycleState::default();
    let mut explanation = Explanation::default();
    explanation.diagnosis.nodes = nodes.nodes().len();
    let named = match narrow(plugins, &mut state, nodes, pod) {
        Ok(named) => named,
        Err((plugin, rejection)) => {
            for info in nodes.nodes() {
                explanation.rejected.insert(info.name().to_owned(), (plugin, rejection.clone()));
            }
            explanation.diagnosis.whole = Some(rejection);
            return explanation;
        }
    };
    let mut fitting: Vec<Arc<NodeInfo>> = Vec::new();
    for info in nodes.nodes() {
        let rejection = match &named {
            Some((names, rejection)) if !names.contains(info.name()) => Some(("", rejection.clone())),
            _ => plugins.iter().find_map(|p| p.filter(&state, pod, info).err().map(|why| (p.name(), why))),
        };
        match rejection {
            None => fitting.push(info.clone()),
            Some((plugin, rejection)) => {
                explanation.diagnosis.rejected.insert(info.name().to_owned(), rejection.clone());
                explanation.rejected.insert(info.name().to_owned(), (plugin, rejection));
            }
        }
    }
    for info in &fitting {
        explanation.scores.insert(info.name().to_owned(), BTreeMap::new());
    }
    plugins.iter().for_each(|plugin| plugin.pre_score(&mut state, pod, &fitting));
    for plugin in plugins {
        let scores: Vec<Option<i64>> = fitting.iter().map(|info| plugin.score(&state, pod, info)).collect();
        if scores.iter().all(Option::is_none) {
            continue;
        }
        let mut scores: Vec<i64> = scores.into_iter().map(Option::unwrap_or_default).collect();
        plugin.normalize(&mut scores);
        for (info, score) in fitting.iter().zip(scores) {
            if let Some(of) = explanation.scores.get_mut(info.name()) {
                of.insert(plugin.name(), score.saturating_mul(plugin.weight()));
            }
        }
    }
    explanation
}

type Narrowed = Option<(BTreeSet<String>, Rejection)>;

/// The only nodes that come into question, if rules say which.
fn narrow(
    plugins: &[Arc<dyn Plugin>],
    state: &mut CycleState,
    nodes: &Snapshot,
    pod: &PodInfo,
) -> Result<Narrowed, (&'static str, Rejection)> {
    let mut named: Option<BTreeSet<String>> = None;
    let mut naming = BTreeSet::new();
    for plugin in plugins {
        if let Some(names) =
            plugin.pre_filter(state, pod, nodes).map_err(|rejection| (plugin.name(), rejection))?
        {
            naming.insert(plugin.name());
            named = Some(named.map_or(names.clone(), |named| &named & &names));
        }
    }
    let naming: Vec<&str> = naming.into_iter().collect();
    let text = format!("node(s) didn't satisfy plugin(s) [{}]", naming.join(" "));
    Ok(named.map(|named| (named, Rejection::unresolvable(text))))
}
