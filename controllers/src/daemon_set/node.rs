//! Nodes, as far as daemons are concerned.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Affinity, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration},
};

use crate::{framework::Change, node_selector, pod, toleration::tolerates};

/// Whether a change of a node may change where daemons are to run.
pub(super) fn changed(change: &Change<'_, Node>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return true };
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    let cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable);
    before.metadata.labels != after.metadata.labels
        || taints(before) != taints(after)
        || cordoned(before) != cordoned(after)
}

/// What a daemon's pods tolerate besides what their template says: they outlive
/// a node's troubles.
fn added(spec: &PodSpec) -> Vec<Toleration> {
    let network = if spec.host_network == Some(true) { "network-unavailable" } else { "" };
    let rows = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        (network, "NoSchedule"),
    ];
    let named = rows.into_iter().filter(|(name, _)| !name.is_empty());
    named
        .map(|(name, effect)| Toleration {
            key: Some(format!("node.kubernetes.io/{name}")),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        })
        .collect()
}

/// The tolerations of a set's pods.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    for toleration in added(spec) {
        // One that says the same, but for how long, is replaced.
        let same = |it: &Toleration| {
            (&it.key, &it.effect) == (&toleration.key, &toleration.effect)
                && it.operator == toleration.operator
                && it.value.as_deref().unwrap_or_default().is_empty()
        };
        match all.iter_mut().find(|it| same(it)) {
            Some(known) => *known = toleration,
            None => all.push(toleration),
        }
    }
    all
}

/// Whether a set's pod is to run on a node, and whether one that runs there may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) run: bool,
    pub(super) go_on: bool,
}

/// Judges `node` as the scheduler would.
pub(super) fn fit(set: &DaemonSet, tolerations: &[Toleration], node: &Node) -> Fit {
    let no = Fit { run: false, go_on: false };
    let Some(spec) = &set.spec.template.spec else { return no };
    let named = spec.node_name.as_deref().unwrap_or_default();
    let own_name = named.is_empty() || Some(named) == node.metadata.name.as_deref();
    if !own_name || !node_selector::allows(spec, node) {
        return no;
    }
    let taints: Vec<&Taint> = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).collect();
    let repels = |effects: &[&str]| {
        let matter = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        matter.into_iter().any(|taint| !tolerations.iter().any(|it| tolerates(it, taint)))
    };
    Fit { run: !repels(&["NoSchedule", "NoExecute"]), go_on: !repels(&["NoExecute"]) }
}

/// Pods by the node that they are on or meant for, the oldest first.
pub(super) fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut nodes: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        if let Some(node) = target(pod) {
            nodes.entry(node.to_owned()).or_default().push(pod.clone());
        }
    }
    let place = |pod: &Arc<Pod>| {
        let phase = !pod::phase(pod).is_empty() && pod::node(pod).is_some();
        (!phase, pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
    };
    nodes.values_mut().for_each(|pods| pods.sort_by_key(place));
    nodes
}

// The node that a pod is on, or else the one that its affinity names.
fn target(pod: &Pod) -> Option<&str> {
    if let Some(node) = pod::node(pod) {
        return Some(node);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    terms.iter().flat_map(|term| term.match_fields.iter().flatten()).find_map(|rule| {
        let values = rule.values.as_deref().unwrap_or_default();
        let names = rule.key == "metadata.name" && rule.operator == "In" && values.len() == 1;
        values.first().filter(|_| names).map(String::as_str)
    })
}

/// `affinity` that allows only `node`: the scheduler puts the pod there.
pub(super) fn only(affinity: Option<&Affinity>, node: &str) -> Affinity {
    let mut affinity = affinity.cloned().unwrap_or_default();
    let by_name = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".into(),
            operator: "In".into(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let nodes = affinity.node_affinity.get_or_insert_default();
    let required = nodes.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    required.node_selector_terms = vec![by_name];
    affinity
}
