//! POST of an `Eviction`: a pod is deleted, if no disruption budget minds.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{LabelSelector, Object, Status, status::Cause};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Call, answer, body};
use crate::{
    body::Body,
    codec::{
        self,
        negotiation::{self, Forms},
    },
    error::{ApiError, Subject},
    registry::{
        Target,
        delete::check_preconditions,
        options::{DeleteOptions, ListOptions, Preconditions, Writing},
        read::internal,
    },
    resources::{Row, tree},
};
use coracle_store::{Record, StoreError, Write as Commit};

/// Evicted pods that a budget's controller may not have seen yet, at most.
const PENDING: usize = 2000;
/// How often others may write a budget first.
const TRIES: usize = 20;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

pub(super) async fn evict<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let output = negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let sent = body::sent(call, body::read(call, sent).await?)?;
    let options = call.options(Writing::Create)?;
    let Some(facts) = row.facts.subresource("eviction") else { return Err(ApiError::NoSuchPath) };
    let Some(schema) = &facts.schema else { return Err(ApiError::NoSuchPath) };
    let eviction = body::object(call, &sent, &facts.gvk, schema, options.validation)?;
    if !eviction.name().is_empty() && eviction.name() != call.info.name {
        return Err(ApiError::BadRequest("name in URL does not match name in Eviction object".to_owned()));
    }
    let target = call.target(row);
    let record = call.registry().get(&target).await?;
    let pod = codec::json::parse_stored(&record.bytes);
    let wanted = eviction.0.get("deleteOptions").map(|it| serde_json::to_vec(it).unwrap_or_default());
    let mut deletion = match wanted {
        Some(wanted) => DeleteOptions::decode(&wanted)?,
        None => DeleteOptions::default(),
    };
    if options.dry_run {
        deletion.set_dry_run();
    }
    let pinned = deletion.preconditions.as_ref().is_some_and(|it| it.resource_version.is_some());
    let mut guard = None;
    if counts(&pod) {
        let allowed = allowed(call, &target, &pod, deletion.dry_run()).await?;
        if let Leave::WhileUnready(budget) = allowed {
            // It may have become ready since it was read, and counts then.
            let preconditions = deletion.preconditions.get_or_insert_with(Preconditions::default);
            preconditions.resource_version.get_or_insert_with(|| pod.resource_version().to_owned());
            guard = Some(budget);
        }
    }
    match leave(call, &target, deletion).await {
        Err(ApiError::Conflict { .. }) if guard.is_some() && !pinned => {
            return Err(pending(guard.as_deref().unwrap_or_default()));
        }
        outcome => outcome?,
    };
    let status = Status { code: 201, ..Status::success(None) };
    Ok(answer::value_in(&output, StatusCode::CREATED, &serde_json::to_value(status).unwrap_or_default()))
}

/// Says on the pod why it goes, and deletes it.
async fn leave(call: &Call<'_>, target: &Target, mut deletion: DeleteOptions) -> Result<(), ApiError> {
    if !deletion.dry_run() {
        mark(call, target, &mut deletion).await?;
    }
    call.registry().delete(target, &deletion, call.user).await.map(drop)
}

/// Puts the condition on the pod. A deletion of one revision is one of the
/// revision that this makes.
async fn mark(call: &Call<'_>, target: &Target, deletion: &mut DeleteOptions) -> Result<(), ApiError> {
    for _ in 0..TRIES {
        let record = call.registry().get(target).await?;
        let mut pod = codec::json::parse_stored(&record.bytes);
        check_preconditions(target, deletion, &pod)?;
        if !disrupt(&mut pod, &tree::time(call.registry().config.clock.now())) {
            return Ok(());
        }
        let value = codec::json::encode(&pod);
        let write = Commit::Update { key: record.key.clone(), expected: record.revision, value, ttl: None };
        match call.registry().store.commit(write).await {
            Ok(record) => {
                let pinned = deletion.preconditions.as_mut().and_then(|it| it.resource_version.as_mut());
                if let Some(version) = pinned {
                    *version = record.revision.0.to_string();
                }
                return Ok(());
            }
            Err(StoreError::RevisionMismatch { .. }) => {}
            Err(error) => return Err(internal(error)),
        }
    }
    Err(ApiError::stale(Subject::of(&target.row.facts, &target.name)))
}

/// The condition of a pod that is evicted; false when it says so already.
fn disrupt(pod: &mut Object, now: &Value) -> bool {
    let mut condition = json!({
        "lastProbeTime": null, "lastTransitionTime": now, "message": "Eviction API: evicting",
        "reason": "EvictionByEvictionAPI", "status": "True", "type": "DisruptionTarget",
    });
    let conditions = pod.section_mut("status").entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return false };
    let Some(there) = list.iter_mut().find(|it| it["type"] == "DisruptionTarget") else {
        list.push(condition);
        return true;
    };
    if there["status"] == "True" {
        condition["lastTransitionTime"] = there["lastTransitionTime"].clone();
    }
    let generation = there.get("observedGeneration").cloned();
    condition
        .as_object_mut()
        .into_iter()
        .for_each(|it| it.extend(generation.clone().map(|at| ("observedGeneration".to_owned(), at))));
    std::mem::replace(there, condition.clone()) != condition
}

// Pods that do not run, or are going already, disrupt nobody by going.
fn counts(pod: &Object) -> bool {
    let phase = pod.get_str(&["status", "phase"]);
    !pod.deleting() && !matches!(phase, "Succeeded" | "Failed" | "Pending")
}

/// How a pod may go.
enum Leave {
    /// Whatever becomes of it.
    Freely,
    /// As long as it is not ready: the budget of this name does not count it then.
    WhileUnready(String),
}

async fn allowed(call: &Call<'_>, target: &Target, pod: &Object, dry_run: bool) -> Result<Leave, ApiError> {
    for _ in 0..TRIES {
        let Some((record, mut budget)) = guarding(call, target, pod).await? else { return Ok(Leave::Freely) };
        if !is_ready(pod) && spares_unready(&budget) {
            return Ok(Leave::WhileUnready(budget.name().to_owned()));
        }
        check(&budget)?;
        if dry_run {
            return Ok(Leave::Freely);
        }
        charge(&mut budget, pod.name(), &tree::time(call.registry().config.clock.now()));
        let value = codec::json::encode(&budget);
        let write = Commit::Update { key: record.key.clone(), expected: record.revision, value, ttl: None };
        match call.registry().store.commit(write).await {
            Ok(_) => return Ok(Leave::Freely),
            Err(StoreError::RevisionMismatch { .. }) => {}
            Err(error) => return Err(internal(error)),
        }
    }
    Err(ApiError::Timeout {
        message: "couldn't update PodDisruptionBudget due to conflicts".to_owned(),
        retry_after_seconds: 10,
        causes: Vec::new(),
    })
}

/// The one budget that guards the pod.
async fn guarding(
    call: &Call<'_>,
    target: &Target,
    pod: &Object,
) -> Result<Option<(Arc<Record>, Object)>, ApiError> {
    let Some(row) = call.registry().row("policy", "v1", "poddisruptionbudgets") else { return Ok(None) };
    let budgets = Target { row, namespace: target.namespace.clone(), name: String::new() };
    let listing = call.registry().list(&budgets, &ListOptions::default()).await?;
    let parsed = listing.records.into_iter().map(|record| {
        let budget = codec::json::parse_stored(&record.bytes);
        (record, budget)
    });
    let mut matching = parsed.filter(|(_, budget)| guards(budget, pod));
    let first = matching.next();
    if matching.next().is_some() {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::Internal(text.to_owned()));
    }
    Ok(first)
}

fn guards(budget: &Object, pod: &Object) -> bool {
    let Some(selector) = budget.get(&["spec", "selector"]) else { return false };
    let Ok(selector) = LabelSelector::from_value(selector) else { return false };
    selector.matches(|key| pod.labels().find(|(it, _)| *it == key).map(|(_, value)| value))
}

fn is_ready(pod: &Object) -> bool {
    let conditions = tree::list(tree::field(pod, &["status", "conditions"]));
    conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn number(budget: &Object, name: &str) -> i64 {
    tree::number(tree::field(budget, &["status", name]))
}

/// Whether pods that are not ready may go, whatever else may.
fn spares_unready(budget: &Object) -> bool {
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    budget.get_str(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || (healthy >= desired && desired > 0)
}

fn check(budget: &Object) -> Result<(), ApiError> {
    let name = budget.name();
    if number(budget, "observedGeneration") < budget.generation() {
        return Err(pending(name));
    }
    let forbidden = |reason: &str| {
        let subject = Subject {
            group: "policy".to_owned(),
            kind: "poddisruptionbudget".to_owned(),
            name: name.to_owned(),
        };
        Err(ApiError::Forbidden { subject, reason: reason.to_owned() })
    };
    let left = number(budget, "disruptionsAllowed");
    if left < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if tree::entries(tree::field(budget, &["status", "disruptedPods"])).count() > PENDING {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if left == 0 { Err(refused(0, why_none(budget))) } else { Ok(()) }
}

/// Why nothing is allowed now.
fn why_none(budget: &Object) -> String {
    let name = budget.name();
    let conditions = tree::list(tree::field(budget, &["status", "conditions"]));
    let said = conditions.iter().find(|it| it["type"] == "DisruptionAllowed" && it["status"] == "False");
    let said = said.map(|it| (tree::text(&it["reason"]), tree::text(&it["message"])));
    let said = said.filter(|(_, message)| !message.is_empty());
    let (healthy, needed) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    match said {
        Some(("SyncFailed", message)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if healthy <= needed => {
            format!("The disruption budget {name} needs {needed} healthy pods and has {healthy} currently")
        }
        Some((reason, message)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
            )
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn pending(name: &str) -> ApiError {
    refused(10, format!("The disruption budget {name} is still being processed by the server."))
}

fn refused(retry_after_seconds: u32, message: String) -> ApiError {
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() };
    ApiError::TooManyRequests { message: REFUSED.to_owned(), retry_after_seconds, causes: vec![cause] }
}

/// One disruption less, and the pod that it is for.
fn charge(budget: &mut Object, pod: &str, now: &Value) {
    let left = number(budget, "disruptionsAllowed").saturating_sub(1);
    let generation = number(budget, "observedGeneration");
    let status = budget.section_mut("status");
    status.insert("disruptionsAllowed".to_owned(), left.into());
    let disrupted = status.entry("disruptedPods").or_insert_with(|| Value::Object(Map::new()));
    if let Some(disrupted) = disrupted.as_object_mut() {
        disrupted.insert(pod.to_owned(), now.clone());
    }
    if left > 0 {
        return;
    }
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter(|it| it["type"] == "DisruptionAllowed") {
        *condition = json!({
            "lastTransitionTime": now,
            "message": "",
            "observedGeneration": generation,
            "reason": "InsufficientPods",
            "status": "False",
            "type": "DisruptionAllowed",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Object {
        Object::from_value(json!({
            "kind": "PodDisruptionBudget", "apiVersion": "policy/v1",
            "metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_budget_refuses_and_says_why() {
        let check = |status: Value, expected: Option<&str>| {
            let found = super::check(&budget(status.clone())).err().map(|error| match error {
                ApiError::TooManyRequests { causes, .. } => causes[0].message.clone(),
                other => other.to_string(),
            });
            assert_eq!(found.as_deref(), expected, "{status}");
        };
        check(json!({"observedGeneration": 2, "disruptionsAllowed": 1}), None);
        let text = "The disruption budget b is still being processed by the server.";
        check(json!({"observedGeneration": 1, "disruptionsAllowed": 1}), Some(text));
        let none = json!({"observedGeneration": 2, "desiredHealthy": 3, "currentHealthy": 2});
        check(none, Some("The disruption budget b needs 3 healthy pods and has 2 currently"));
        let failed = json!({"observedGeneration": 2, "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why"}]});
        let text =
            "The disruption budget b does not allow evicting pods currently because it failed sync: why";
        check(failed, Some(text));
    }

    #[test]
    fn a_pod_says_that_it_is_evicted() {
        let mut pod = Object::from_value(json!({"kind": "Pod", "apiVersion": "v1", "status": {}})).unwrap();
        assert!(disrupt(&mut pod, &json!("2024-01-01T00:00:00Z")));
        assert!(!disrupt(&mut pod, &json!("2024-01-02T00:00:00Z")), "it says so already");
        let said = &pod.get(&["status", "conditions"]).unwrap()[0];
        assert_eq!(
            (&said["reason"], &said["message"]),
            (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
        );
        assert_eq!(said["lastTransitionTime"], "2024-01-01T00:00:00Z");
    }

    #[test]
    fn an_eviction_is_noted() {
        let mut budget = budget(json!({"observedGeneration": 2, "disruptionsAllowed": 1,
            "conditions": [{"type": "DisruptionAllowed", "status": "True"}]}));
        charge(&mut budget, "p", &json!("2024-01-01T00:00:00Z"));
        let status = budget.get(&["status"]).unwrap();
        assert_eq!(status["disruptionsAllowed"], 0);
        assert_eq!(status["disruptedPods"], json!({"p": "2024-01-01T00:00:00Z"}));
        assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
    }
}
