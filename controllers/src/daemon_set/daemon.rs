//! The pods of a set: where they may run, how they are bound to their node,
//! and which template they have.

use std::cmp::Ordering;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint,
        Toleration,
    },
};

use crate::{
    framework::controller_reference, history::REVISION_LABEL, node_selector::Selection, pod,
    toleration::tolerates,
};

const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION: &str = "deprecated.daemonset.template.generation";
const NODE_NAME: &str = "metadata.name";

/// Taints that a daemon's pods always tolerate, and their effects.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// One more on the host's network.
const OF_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a set may do on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Run.
    Runs,
    /// Go on where it runs already.
    Stays,
    /// Neither.
    Leaves,
}

/// What pods of `set` may do on nodes.
pub(super) struct Places {
    spec: PodSpec,
    selection: Selection,
}

impl Places {
    pub(super) fn of(set: &DaemonSet) -> Self {
        let mut spec = set.spec.template.spec.clone().unwrap_or_default();
        tolerate(&mut spec);
        Self { selection: Selection::required(&spec), spec }
    }

    pub(super) fn on(&self, node: &Node) -> Place {
        let elsewhere = |name: &&str| !name.is_empty() && Some(*name) != node.metadata.name.as_deref();
        if self.spec.node_name.as_deref().filter(elsewhere).is_some() || !self.selection.matches(node) {
            return Place::Leaves;
        }
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let tolerated = |effects: &[&str]| tolerated(node, tolerations, effects);
        if tolerated(&["NoExecute", "NoSchedule"]) {
            Place::Runs
        } else if tolerated(&["NoExecute"]) {
            Place::Stays
        } else {
            Place::Leaves
        }
    }
}

/// True when each taint of `node` with one of these effects is tolerated.
fn tolerated(node: &Node, tolerations: &[Toleration], effects: &[&str]) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let counts = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    taints.iter().filter(counts).all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}

/// Gives `spec` the tolerations that every daemon has.
fn tolerate(spec: &mut PodSpec) {
    let host = Some(OF_HOST_NETWORK).filter(|_| spec.host_network == Some(true));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(host) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        let same =
            |other: &Toleration| Toleration { toleration_seconds: None, ..other.clone() } == toleration;
        match tolerations.iter_mut().find(|other| same(other)) {
            Some(other) => *other = toleration,
            None => tolerations.push(toleration),
        }
    }
}

fn generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.as_ref()?.get(GENERATION)?.parse().ok()
}

/// The pod of `set` for the node called `node`.
pub(super) fn pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut pod = pod::from_template(&set.spec.template, controller_reference(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    if let Some(generation) = generation(set) {
        labels.insert(GENERATION_LABEL.into(), generation.to_string());
    }
    if !hash.is_empty() {
        labels.insert(REVISION_LABEL.into(), hash.into());
    }
    let spec = pod.spec.get_or_insert_default();
    tolerate(spec);
    bind(spec.affinity.get_or_insert_default(), node);
    pod
}

/// Lets the scheduler choose `node` only.
fn bind(affinity: &mut Affinity, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: NODE_NAME.into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), ..NodeSelectorTerm::default() };
    let affinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that `pod` is on or is for.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    if let Some(node) = pod::node(pod) {
        return Some(node);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.into_iter().find(|field| field.key == NODE_NAME && field.operator == "In")?;
    match named.values.as_deref() {
        Some([node]) => Some(node),
        _ => None,
    }
}

/// True when `pod` has the set's template.
pub(super) fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let label = |name: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let of_generation =
        generation(set).is_some_and(|it| label(GENERATION_LABEL).is_some_and(|at| *at == it.to_string()));
    of_generation || (!hash.is_empty() && label(REVISION_LABEL).is_some_and(|at| at == hash))
}

/// Pods on their node first, and the older ones.
pub(super) fn by_seniority(a: &Pod, b: &Pod) -> Ordering {
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let waits = |pod: &Pod| pod::node(pod).is_none();
    waits(a)
        .cmp(&waits(b))
        .then_with(|| made(a).cmp(&made(b)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}
