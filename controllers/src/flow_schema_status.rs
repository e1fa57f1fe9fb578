//! Says of each FlowSchema whether the priority level that it names is there.
//! Upstream's API server does this itself; here whoever runs the API server
//! runs this loop beside it.

use std::sync::Arc;

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent};

const NAME: &str = "flow-schema-status";
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
const DANGLING: &str = "Dangling";
const WORKERS: usize = 1;
/// The index of schemas by the priority level that they name.
const BY_LEVEL: &str = "priority-level";

/// Puts the loop in.
pub fn start(setup: &mut Setup) {
    let schemas = setup.reflect::<FlowSchema>();
    let levels = setup.reflect::<PriorityLevelConfiguration>();
    schemas.store().index(BY_LEVEL, |schema| vec![level(schema).to_owned()]);
    let queue = Queue::new();
    let on_schema = queue.clone();
    schemas.on_change(move |change| on_schema.extend(change.after.map(|it| Key::of(&it.metadata))));
    let (on_level, known) = (queue.clone(), schemas.store());
    levels.on_change(move |change| {
        if change.before.is_some() && change.after.is_some() {
            return;
        }
        if let Some(name) = change.sides().last().and_then(|level| level.metadata.name.as_deref()) {
            on_level.extend(known.indexed(BY_LEVEL, name).iter().map(|it| Key::of(&it.metadata)));
        }
    });
    let status = Status {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        schemas: schemas.store(),
        levels: levels.store(),
    };
    setup.reconcile(NAME, queue, WORKERS, status);
}

fn level(schema: &FlowSchema) -> &str {
    &schema.spec.priority_level_configuration.name
}

struct Status {
    client: Client,
    clock: Clock,
    schemas: Arc<Store<FlowSchema>>,
    levels: Arc<Store<PriorityLevelConfiguration>>,
}

impl Reconcile<Key> for Status {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(schema) = self.schemas.get(key) else { return Ok(Next::Change) };
        let found = self.levels.get(&Key::cluster(level(&schema))).is_some();
        let Some(condition) = plan(&schema, found) else { return Ok(Next::Change) };
        let apply = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": { "name": key.name },
            "status": { "conditions": [FlowSchemaCondition {
                last_transition_time: Some(self.clock.time()),
                ..condition
            }] },
        });
        let api = Api::<FlowSchema>::all(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        absent(api.patch_status(&key.name, &params, &Patch::Apply(apply)).await)?;
        Ok(Next::Change)
    }
}

/// The condition that the schema is to have, when it has another.
fn plan(schema: &FlowSchema, found: bool) -> Option<FlowSchemaCondition> {
    let of =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {:?}", level(schema));
    let (status, reason, message) = if found {
        ("False", "Found", format!("{of} and it exists"))
    } else {
        ("True", "NotFound", format!("{of} but there is no such object"))
    };
    let wanted = FlowSchemaCondition {
        type_: DANGLING.to_owned(),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: None,
    };
    let conditions = schema.status.as_ref().and_then(|status| status.conditions.as_deref());
    let has = conditions
        .unwrap_or_default()
        .iter()
        .any(|it| FlowSchemaCondition { last_transition_time: None, ..it.clone() } == wanted);
    (!has).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangling_or_not() {
        let check = |conditions: serde_json::Value, found: bool, expected: Option<(&str, &str)>| {
            let schema = serde_json::from_value(json!({
                "metadata": { "name": "s" },
                "spec": { "priorityLevelConfiguration": { "name": "l" } },
                "status": { "conditions": conditions },
            }));
            let plan = plan(&schema.unwrap(), found);
            let said = plan.as_ref().map(|it| {
                (it.status.as_deref().unwrap_or_default(), it.reason.as_deref().unwrap_or_default())
            });
            assert_eq!(said, expected, "{conditions} {found}");
        };
        let there = json!({
            "type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": "2020-01-01T00:00:00Z",
            "message": "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists",
        });
        check(json!([]), true, Some(("False", "Found")));
        check(json!([]), false, Some(("True", "NotFound")));
        check(json!([there]), true, None);
        check(json!([there]), false, Some(("True", "NotFound")));
        check(json!([{ "type": "Other" }]), true, Some(("False", "Found")));
    }
}
