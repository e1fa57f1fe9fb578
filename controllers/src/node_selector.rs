//! Which nodes a pod may or would rather be on: its node selector and node affinity, read once.

use std::collections::BTreeMap;

use coracle_api::selector::{Operator, Requirement};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};

const NAME_FIELD: &str = "metadata.name";

/// What a node must be for a pod.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    labels: Vec<(String, String)>,
    /// One of which must hold; none at all when there is no required affinity.
    terms: Option<Vec<Term>>,
}

/// One term: all of it must hold.
#[derive(Debug, Clone)]
struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    key: String,
    value: String,
    equal: bool,
}

impl Selection {
    /// What `spec` requires.
    pub fn required(spec: &PodSpec) -> Self {
        let labels = spec.node_selector.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        Self { labels, terms: required.map(terms) }
    }

    /// What a node selector of its own (of a volume, of the scheduler's configuration) requires.
    pub fn of(selector: &NodeSelector) -> Self {
        Self { labels: Vec::new(), terms: Some(terms(selector)) }
    }

    /// True when any node will do.
    pub fn is_any(&self) -> bool {
        self.labels.is_empty() && self.terms.is_none()
    }

    /// True when `node` will do.
    pub fn matches(&self, node: &Node) -> bool {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        self.matches_labels(name, node.metadata.labels.as_ref())
    }

    /// True when a node with these labels will do. Without a name, what is
    /// said of names does not matter.
    pub fn matches_labels(&self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let label = |key: &String| labels.and_then(|labels| labels.get(key));
        self.labels.iter().all(|(key, value)| label(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }
}

/// True when what a pod with this `spec` requires of its node holds for `node`.
pub fn selects(spec: &PodSpec, node: &Node) -> bool {
    Selection::required(spec).matches(node)
}

/// How much a pod would like to be on a node.
#[derive(Debug, Clone, Default)]
pub struct Preferences(Vec<(i64, Term)>);

impl Preferences {
    /// Reads preferences; those without weight or terms say nothing.
    pub fn of(preferred: &[PreferredSchedulingTerm]) -> Self {
        let meant = preferred.iter().filter(|p| p.weight != 0 && !is_empty(&p.preference));
        Self(meant.filter_map(|p| Some((i64::from(p.weight), Term::read(&p.preference)?))).collect())
    }

    /// The weights of what `node` meets.
    pub fn score(&self, node: &Node) -> i64 {
        let (name, labels) =
            (node.metadata.name.as_deref().unwrap_or_default(), node.metadata.labels.as_ref());
        self.0.iter().filter(|(_, term)| term.matches(name, labels)).map(|(weight, _)| weight).sum()
    }
}

/// The terms that can hold: an empty one never does, nor one that cannot be read.
fn terms(selector: &NodeSelector) -> Vec<Term> {
    selector.node_selector_terms.iter().filter(|term| !is_empty(term)).filter_map(Term::read).collect()
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    [&term.match_expressions, &term.match_fields].iter().all(|list| list.iter().flatten().next().is_none())
}

impl Term {
    fn read(term: &NodeSelectorTerm) -> Option<Self> {
        let labels = term.match_expressions.iter().flatten().map(requirement).collect::<Option<_>>()?;
        let fields = term.match_fields.iter().flatten().map(field).collect::<Option<_>>()?;
        Some(Self { labels, fields })
    }

    fn matches(&self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        self.labels.iter().all(|rule| rule.matches(label(rule.key())))
            && self.fields.iter().all(|field| {
                let value = if field.key == NAME_FIELD { name } else { "" };
                name.is_empty() || (value == field.value) == field.equal
            })
    }
}

fn requirement(rule: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match rule.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Greater,
        "Lt" => Operator::Less,
        _ => return None,
    };
    Requirement::new(&rule.key, operator, rule.values.clone().unwrap_or_default()).ok()
}

fn field(rule: &NodeSelectorRequirement) -> Option<Field> {
    let equal = match rule.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    match rule.values.as_deref().unwrap_or_default() {
        [value] => Some(Field { key: rule.key.clone(), value: value.clone(), equal }),
        _ => None,
    }
}
