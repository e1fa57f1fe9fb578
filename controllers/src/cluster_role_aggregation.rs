//! Cluster roles that are put together from others have the rules of those.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::framework::{Error, Key, Next, Queue, Reconcile, Setup, Store, absent, matches};

const NAME: &str = "clusterrole-aggregation-controller";
const WORKERS: usize = 5;
/// The index of the roles that are put together.
const AGGREGATED: &str = "aggregated";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let roles = setup.reflect::<ClusterRole>();
    roles.store().index(AGGREGATED, |role| {
        role.aggregation_rule.as_ref().map(|_| "true".to_owned()).into_iter().collect()
    });
    let queue = Queue::new();
    let (on_role, store) = (queue.clone(), roles.store());
    roles.on_change(move |change| {
        let part = |role: &Arc<ClusterRole>| {
            (role.metadata.labels.clone(), role.rules.clone(), role.aggregation_rule.clone())
        };
        if change.before.map(part) == change.after.map(part) {
            return;
        }
        on_role.extend(store.indexed(AGGREGATED, "true").iter().map(|role| Key::of(&role.metadata)));
    });
    let controller = Aggregation { client: setup.client.clone(), roles: roles.store() };
    setup.reconcile(NAME, queue, WORKERS, controller);
}

struct Aggregation {
    client: Client,
    roles: Arc<Store<ClusterRole>>,
}

impl Reconcile<Key> for Aggregation {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(role) = self.roles.get(key) else { return Ok(Next::Change) };
        let Some(rules) = plan(&role, &self.roles.all()) else { return Ok(Next::Change) };
        let apply = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": key.name}, "rules": rules,
        });
        let api = Api::<ClusterRole>::all(self.client.clone());
        absent(api.patch(&key.name, &PatchParams::apply(NAME).force(), &Patch::Apply(apply)).await)?;
        Ok(Next::Change)
    }
}

/// The rules that `role` is to have, when they differ: those of each role
/// that its selectors select, in the order of selectors and names, each once.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let selected = all.iter().filter(|other| {
            other.metadata.name != role.metadata.name && matches(selector, other.metadata.labels.as_ref())
        });
        for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rules_come_together() {
        let role = |name: &str, label: &str, verbs: &[&str]| -> ClusterRole {
            let rules: Vec<Value> = verbs.iter().map(|verb| json!({"verbs": [verb]})).collect();
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules}),
            )
            .unwrap()
        };
        let check = |selectors: &[&str], has: &[&str], expected: Option<&[&str]>| {
            let mut whole = role("whole", "view", has);
            let rows: Vec<Value> =
                selectors.iter().map(|label| json!({"matchLabels": {*label: "true"}})).collect();
            whole.aggregation_rule = serde_json::from_value(json!({"clusterRoleSelectors": rows})).unwrap();
            let all =
                [role("a", "view", &["get", "list"]), role("b", "edit", &["list", "create"]), whole.clone()];
            let rules = plan(&whole, &all.map(Arc::new));
            let verbs = rules.as_ref().map(|rules| {
                rules.iter().filter_map(|rule| rule.verbs.first()).map(String::as_str).collect::<Vec<_>>()
            });
            assert_eq!(verbs.as_deref(), expected, "{selectors:?} {has:?}");
        };
        check(&["view"], &[], Some(&["get", "list"]));
        check(&["view"], &["get", "list"], None);
        check(&["edit", "view"], &["get"], Some(&["list", "create", "get"]));
        check(&["none"], &["get"], Some(&[]));
        check(&[], &[], None);
    }
}
