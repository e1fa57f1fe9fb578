//! Which of some pods would go against a PodDisruptionBudget.

use std::sync::Arc;

use coracle_controllers::framework::matches;
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};

/// What each budget still allows while pods are counted against it.
pub(super) struct Budgets<'a>(Vec<(&'a PodDisruptionBudget, i32)>);

impl<'a> Budgets<'a> {
    pub(super) fn new(budgets: &'a [Arc<PodDisruptionBudget>]) -> Self {
        let allowed = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or(0)
        };
        Self(budgets.iter().map(|budget| (budget.as_ref(), allowed(budget))).collect())
    }

    /// Counts `pod`; true when a budget does not allow that it goes.
    pub(super) fn violates(&mut self, pod: &Pod) -> bool {
        let meta = &pod.metadata;
        if meta.labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty) {
            return false;
        }
        for (budget, allowed) in &mut self.0 {
            if budget.metadata.namespace != meta.namespace || !guards(budget, pod) {
                continue;
            }
            // The API server has counted it already.
            let counted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
            let name = meta.name.as_deref().unwrap_or_default();
            if counted.is_some_and(|pods| pods.contains_key(name)) {
                continue;
            }
            *allowed = allowed.saturating_sub(1);
            if *allowed < 0 {
                return true;
            }
        }
        false
    }
}

// An empty selector guards nothing here.
fn guards(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        let some = selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty())
            || selector.match_expressions.as_ref().is_some_and(|rules| !rules.is_empty());
        some && matches(selector, pod.metadata.labels.as_ref())
    })
}
