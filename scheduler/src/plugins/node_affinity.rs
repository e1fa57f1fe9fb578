//! Pods ask for nodes by label and name, or prefer some.

use std::{cmp::Ordering, collections::BTreeSet};

use k8s_openapi::api::core::v1::{Node, NodeAffinity as Affinity, NodeSelectorRequirement, NodeSelectorTerm};

use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::{CycleState, Happening, Plugin, Rejection, stretch},
    pod::PodInfo,
};

pub(super) struct NodeAffinity;

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

    fn pre_filter(
        &self,
        _: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let names = required_terms(pod).and_then(named);
        match names {
            Some(names) if names.is_empty() => Err(Rejection::unresolvable("pod affinity terms conflict")),
            names => Ok(names),
        }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, info: &NodeInfo) -> Result<(), Rejection> {
        let Some(node) = &info.node else { return Ok(()) };
        let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
        let labels = node.metadata.labels.as_ref();
        let selected =
            selector.into_iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value));
        let wanted = required_terms(pod).is_none_or(|terms| terms.iter().any(|term| matches(term, node)));
        if selected && wanted {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, info: &NodeInfo) -> Option<i64> {
        let preferred = affinity(pod)?.preferred_during_scheduling_ignored_during_execution.as_ref()?;
        let node = info.node.as_ref()?;
        // A preference without terms is for every node.
        let met = |term: &NodeSelectorTerm| is_empty(term) || matches(term, node);
        Some(preferred.iter().filter(|p| met(&p.preference)).map(|p| i64::from(p.weight)).sum())
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

fn is_empty(term: &NodeSelectorTerm) -> bool {
    [&term.match_expressions, &term.match_fields].iter().all(|list| list.iter().flatten().next().is_none())
}

fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label =
        |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !is_empty(term)
        && term.match_expressions.iter().flatten().all(|rule| meets(rule, label(&rule.key)))
        && term.match_fields.iter().flatten().all(|rule| meets(rule, field(&rule.key)))
}

fn meets(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|v| v == value);
    let compared = |wanted: Ordering| {
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = values.first().and_then(|v| number(v));
        matches!((value.and_then(number), bound), (Some(value), Some(bound)) if value.cmp(&bound) == wanted)
    };
    match rule.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(Ordering::Greater),
        "Lt" => compared(Ordering::Less),
        _ => false,
    }
}
