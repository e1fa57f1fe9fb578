//! Which pods are meant: namespaces and labels.

use std::collections::BTreeMap;

use coracle_api::selector::{LabelSelector, Operator, Requirement, SelectorError};
use k8s_openapi::{
    api::core::v1::PodAffinityTerm, apimachinery::pkg::apis::meta::v1::LabelSelector as Written,
};

/// The labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Pods with certain labels, in certain namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Term {
    /// Sorted, each once.
    namespaces: Vec<String>,
    /// Namespaces with such labels too.
    namespace_selector: LabelSelector,
    selector: LabelSelector,
}

impl Term {
    /// Pods of one namespace.
    pub(crate) fn in_namespace(namespace: &str, selector: LabelSelector) -> Self {
        let namespaces = vec![namespace.to_owned()];
        Self { namespaces, namespace_selector: LabelSelector::nothing(), selector }
    }

    /// What `term` of a pod in `namespace` means.
    /// # Errors
    /// A selector that cannot be read.
    pub(crate) fn read(term: &PodAffinityTerm, namespace: &str) -> Result<Self, SelectorError> {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        namespaces.sort();
        namespaces.dedup();
        Ok(Self {
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref())?,
            selector: selector(term.label_selector.as_ref())?,
        })
    }

    /// True when it means namespaces by their labels.
    pub(crate) fn selects_namespaces(&self) -> bool {
        self.namespace_selector.requirements().is_some() && !self.namespace_selector.is_everything()
    }

    /// The same term with the namespaces that its selector stands for now, of `all`.
    pub(crate) fn resolve<'a>(mut self, all: impl Iterator<Item = (&'a str, Option<&'a Labels>)>) -> Self {
        let meant = all.filter(|(_, labels)| matches(&self.namespace_selector, *labels));
        let meant: Vec<String> = meant.map(|(name, _)| name.to_owned()).collect();
        self.namespaces.extend(meant);
        self.namespaces.sort();
        self.namespaces.dedup();
        self.namespace_selector = LabelSelector::nothing();
        self
    }

    /// True when a pod with `labels` in `namespace`, which itself has
    /// `namespace_labels`, is meant.
    pub(crate) fn matches(
        &self,
        namespace: &str,
        namespace_labels: Option<&Labels>,
        labels: Option<&Labels>,
    ) -> bool {
        let there = self.namespaces.binary_search_by(|it| it.as_str().cmp(namespace)).is_ok()
            || matches(&self.namespace_selector, namespace_labels);
        there && matches(&self.selector, labels)
    }

    /// The one namespace that it is about, when it is about one alone.
    pub(crate) fn only_namespace(&self) -> Option<&str> {
        match (self.namespaces.as_slice(), self.namespace_selector.requirements()) {
            ([only], None) => Some(only),
            _ => None,
        }
    }
}

/// Whether `labels` match; an object without labels is one with none.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    selector.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}

/// Reads a selector; an absent one selects nothing.
/// # Errors
/// Upstream's text.
pub(crate) fn selector(written: Option<&Written>) -> Result<LabelSelector, SelectorError> {
    let Some(written) = written else { return Ok(LabelSelector::nothing()) };
    let mut requirements = Vec::new();
    for (key, value) in written.match_labels.iter().flatten() {
        requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
    }
    for rule in written.match_expressions.iter().flatten() {
        let operator = match rule.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
            }
        };
        requirements.push(Requirement::new(&rule.key, operator, rule.values.clone().unwrap_or_default())?);
    }
    Ok(LabelSelector::from_requirements(requirements))
}
