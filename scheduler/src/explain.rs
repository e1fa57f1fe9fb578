//! Every rule's word on every node, for who wants to know why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, api::ListParams};

use crate::{
    cache::{Cache, NodeInfo, Snapshot},
    cycle::Diagnosis,
    objects::Objects,
    plugin::{CycleState, Plugin, Rejection},
    plugins::default_plugins,
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

impl Explanation {
    /// For people: a line for each node that can take the pod, the best
    /// first, with what each rule gives for it; then one for each that cannot.
    pub fn text(&self) -> String {
        let mut scored: Vec<(i64, &String, String)> = Vec::new();
        for (node, scores) in &self.scores {
            let each: Vec<String> = scores.iter().map(|(rule, score)| format!("{rule} {score}")).collect();
            scored.push((scores.values().sum(), node, each.join(", ")));
        }
        scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let mut text = String::new();
        for (total, node, each) in scored {
            text += &format!("{node}: {total} ({each})\n");
        }
        for (node, (rule, rejection)) in &self.rejected {
            let reasons = rejection.reasons.join(", ");
            text += &match *rule {
                "" => format!("{node}: refused: {reasons}\n"),
                rule => format!("{node}: refused by {rule}: {reasons}\n"),
            };
        }
        if self.scores.is_empty() && self.rejected.is_empty() {
            text += report::NO_NODES;
            text.push('\n');
        }
        text
    }
}

/// Asks every rule about every node of the cluster as it is now. A pod that
/// has a node already is looked at as if it had none.
/// # Errors
/// The pod does not exist, or the API does not answer.
pub async fn explain_pod(client: &Client, namespace: &str, name: &str) -> Result<Explanation, kube::Error> {
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(name).await?;
    let pod = PodInfo::new(Arc::new(pod));
    let objects = Objects::list(client).await?;
    let mut cache = Cache::default();
    for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items {
        cache.set_node(Arc::new(node));
    }
    let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    for other in Api::<Pod>::all(client.clone()).list(&running).await?.items {
        let info = Arc::new(PodInfo::new(Arc::new(other)));
        if let Some(node) = info.node().filter(|_| info.uid != pod.uid) {
            cache.set_pod(info.clone(), node);
        }
    }
    let alone = pod.node().is_some().then(|| {
        let mut unplaced = Pod::clone(&pod.pod);
        if let Some(spec) = &mut unplaced.spec {
            spec.node_name = None;
        }
        PodInfo::new(Arc::new(unplaced))
    });
    Ok(explain(&default_plugins(&objects), &cache.snapshot(), alone.as_ref().unwrap_or(&pod)))
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
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for info in nodes.nodes() {
        let rejection = match &named {
            Some((names, rejection)) if !names.contains(info.name()) => Some(("", rejection.clone())),
            _ => plugins.iter().find_map(|p| p.filter(&state, pod, info).err().map(|why| (p.name(), why))),
        };
        match rejection {
            None => fitting.push(info.as_ref()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_node_is_told_first() {
        let scores = |rows: &[(&'static str, i64)]| rows.iter().copied().collect();
        let explanation = Explanation {
            rejected: [("c".into(), ("NodeResourcesFit", Rejection::resolvable("Insufficient cpu")))].into(),
            scores: [("a".into(), scores(&[("X", 1)])), ("b".into(), scores(&[("X", 2), ("Y", 3)]))].into(),
            ..Explanation::default()
        };
        let expected = "b: 5 (X 2, Y 3)\na: 1 (X 1)\nc: refused by NodeResourcesFit: Insufficient cpu\n";
        assert_eq!(explanation.text(), expected);
        assert_eq!(Explanation::default().text(), "no nodes available to schedule pods\n");
    }
}
