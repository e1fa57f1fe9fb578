//! Tells in each PodDisruptionBudget how many of its pods may be disrupted.
//!
//! Start at [`plan::plan`]. Pods that are evicted are noted in the budget by
//! the API server; what does not go is taken out there again.

mod plan;
mod scale;
mod stale;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Api, Client, api::PostParams};

use self::scale::Scales;
use crate::framework::{
    Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent, matches,
};

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let budgets = setup.reflect::<PodDisruptionBudget>();
    let pods = setup.reflect::<Pod>();
    let events = setup.recorder("controllermanager", Style::Counted);
    let queue = Queue::new();
    let on_budget = queue.clone();
    budgets.on_change(move |change| {
        on_budget.extend(change.after.map(|budget| Key::of(&budget.metadata)));
    });
    let (on_pod, known, warn) = (queue.clone(), budgets.store(), events.clone());
    pods.on_change(move |change| {
        let mut last = Vec::new();
        for pod in change.sides() {
            last = guarding(&known, pod);
            on_pod.extend(last.iter().cloned());
        }
        if let (Some(pod), [first, _, ..]) = (change.after, last.as_slice()) {
            let place = Key::of(&pod.metadata);
            let text = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                place.namespace, place.name, first.name
            );
            warn.event(&**pod, Severity::Warning, "MultiplePodDisruptionBudgets", text);
        }
    });
    let controller = Disruption {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events,
        budgets: budgets.store(),
        pods: pods.store(),
        scales: Scales::new(setup),
    };
    setup.reconcile("disruption-controller", queue, 1, controller);
    stale::start(setup);
}

/// The budgets that select the pod.
fn guarding(budgets: &Store<PodDisruptionBudget>, pod: &Pod) -> Vec<Key> {
    let all = budgets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    all.iter().filter(|budget| selects(budget, pod)).map(|budget| Key::of(&budget.metadata)).collect()
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

struct Disruption {
    client: Client,
    clock: Clock,
    events: Recorder,
    budgets: Arc<Store<PodDisruptionBudget>>,
    pods: Arc<Store<Pod>>,
    scales: Scales,
}

impl Reconcile<Key> for Disruption {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Next::Change) };
        match self.sync(key, &budget).await {
            Err(error) if !error.is_conflict() => {
                // Whatever went wrong: nothing may be evicted on what was known before.
                let status = plan::failed(&budget, &error.to_string(), self.clock.now());
                self.write(key, &budget, status).await?;
                Ok(Next::Change)
            }
            outcome => outcome,
        }
    }
}

impl Disruption {
    async fn sync(&self, key: &Key, budget: &Arc<PodDisruptionBudget>) -> Result<Next, Error> {
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selects(budget, pod));
        if pods.is_empty() {
            self.events.event(&**budget, Severity::Normal, "NoPods", "No matching pods found");
        }
        let scale = if plan::needs_scale(budget) { self.scale(budget, &pods).await? } else { 0 };
        let now = self.clock.now();
        let observed = plan::Observed { budget: budget.clone(), pods, scale };
        let plan = plan::plan(&observed, now).map_err(|why| self.uncountable(budget, Error::Invalid(why)))?;
        for pod in plan.overdue {
            let text = format!("Pod was expected by PDB {0}/{0} to be deleted but it wasn't", key.namespace);
            self.events.event(&*pod, Severity::Warning, "NotDeleted", text);
        }
        if let Some(status) = plan.status {
            self.write(key, budget, status).await?;
        }
        Ok(plan.recheck.map_or(Next::Change, Next::After))
    }

    async fn scale(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32, Error> {
        let wanted = self.scales.wanted(pods).await.map_err(|error| self.uncountable(budget, error))?;
        if wanted.unmanaged {
            let text = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, \
                 the status of the PDB cannot be calculated correctly, which may result in undefined behavior. \
                 To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                shown(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
            );
            self.events.event(budget, Severity::Warning, "UnmanagedPods", text);
        }
        Ok(wanted.count)
    }

    fn uncountable(&self, budget: &PodDisruptionBudget, error: Error) -> Error {
        let text = format!("Failed to calculate the number of expected pods: {error}");
        self.events.event(budget, Severity::Warning, "CalculateExpectedPodCountFailed", text);
        error
    }

    async fn write(
        &self,
        key: &Key,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), Error> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), &key.namespace);
        absent(api.replace_status(&key.name, &PostParams::default(), &changed).await).map(drop)
    }
}

/// A selector as Go prints it.
fn shown(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let rules = selector.match_expressions.iter().flatten().map(|rule| {
        let values = rule.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", rule.key, rule.operator)
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        rules.collect::<String>()
    )
}
