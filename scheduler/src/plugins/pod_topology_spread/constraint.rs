//! How evenly a pod wants to be spread: its constraints, read once a cycle.

use coracle_api::selector::{LabelSelector, Operator, Requirement, SelectorError};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::super::tally::{Labels, Sort, Term, selector};
use crate::pod::PodInfo;

/// One constraint.
#[derive(Debug, Clone)]
pub(super) struct Constraint {
    pub(super) max_skew: i64,
    pub(super) key: String,
    pub(super) min_domains: i64,
    /// The pods that are spread; none are counted for a selector of all.
    pub(super) sort: Option<Sort>,
    /// The pod itself is one of them.
    pub(super) own: bool,
    /// Only nodes that the pod's node affinity allows are counted.
    pub(super) honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates are counted.
    pub(super) honor_taints: bool,
}

/// The constraints of `written` that are of the kind `when`, for `pod`.
/// # Errors
/// A selector that cannot be read.
pub(super) fn read(
    written: &[TopologySpreadConstraint],
    when: &str,
    pod: &PodInfo,
    selecting: Option<&LabelSelector>,
) -> Result<Vec<Constraint>, SelectorError> {
    let meta = &pod.pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let meant = written.iter().filter(|constraint| constraint.when_unsatisfiable == when);
    meant
        .map(|constraint| {
            let selector = match selecting {
                Some(selector) => selector.clone(),
                None => merged(constraint, meta.labels.as_ref())?,
            };
            let own = super::super::tally::matches(&selector, meta.labels.as_ref());
            let terms = (!selector.is_everything()).then(|| vec![Term::in_namespace(namespace, selector)]);
            let honors = |policy: &Option<String>, default| policy.as_ref().map_or(default, |p| p == "Honor");
            Ok(Constraint {
                max_skew: i64::from(constraint.max_skew),
                key: constraint.topology_key.clone(),
                min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
                sort: terms.map(|terms| Sort { terms, living: true }),
                own,
                honor_affinity: honors(&constraint.node_affinity_policy, true),
                honor_taints: honors(&constraint.node_taints_policy, false),
            })
        })
        .collect()
}

/// The selector, and the pod's own values of `matchLabelKeys`.
fn merged(
    constraint: &TopologySpreadConstraint,
    labels: Option<&Labels>,
) -> Result<LabelSelector, SelectorError> {
    let written = selector(constraint.label_selector.as_ref())?;
    let keys = constraint.match_label_keys.iter().flatten();
    let own = keys.filter_map(|key| labels?.get_key_value(key));
    let own = own.map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.clone()]));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    Ok(match written.requirements() {
        Some(requirements) if !own.is_empty() => {
            LabelSelector::from_requirements(requirements.iter().cloned().chain(own))
        }
        _ => written,
    })
}
