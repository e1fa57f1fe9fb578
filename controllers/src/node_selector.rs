//! Which nodes a term of a node selector selects.

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// True when the pod's node selector and required affinity allow `node`.
pub fn allows(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let selector = spec.node_selector.iter().flatten();
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    selector.into_iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
        && required.is_none_or(|it| it.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// True when `term` selects `node`. An empty term selects none.
pub fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label =
        |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !is_empty(term)
        && term.match_expressions.iter().flatten().all(|rule| meets(rule, label(&rule.key)))
        && term.match_fields.iter().flatten().all(|rule| meets(rule, field(&rule.key)))
}

/// True when `term` asks for nothing.
pub fn is_empty(term: &NodeSelectorTerm) -> bool {
    [&term.match_expressions, &term.match_fields].iter().all(|list| list.iter().flatten().next().is_none())
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
