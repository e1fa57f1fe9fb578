//! POST of an `Eviction`: a pod is deleted, if no disruption budget minds.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{LabelSelector, Object, Status, status::Cause};
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, answer, body};
use crate::{
    body::Body,
    codec::{
        self,
        negotiation::{self, Forms},
    },
    error::ApiError,
    registry::{
        Target,
        options::{DeleteOptions, ListOptions, Writing},
    },
    resources::Row,
};

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
    if counts(&pod) {
        allowed(call, &target, &pod).await?;
    }
    let wanted = eviction.0.get("deleteOptions").map(|it| serde_json::to_vec(it).unwrap_or_default());
    let mut deletion = match wanted {
        Some(wanted) => DeleteOptions::decode(&wanted)?,
        None => DeleteOptions::default(),
    };
    if options.dry_run {
        deletion.set_dry_run();
    }
    call.registry().delete(&target, &deletion, call.user).await?;
    let status = Status { code: 201, ..Status::success(None) };
    Ok(answer::value_in(&output, StatusCode::CREATED, &serde_json::to_value(status).unwrap_or_default()))
}

// Pods that do not run, or are going already, disrupt nobody by going.
fn counts(pod: &Object) -> bool {
    let phase = pod.get_str(&["status", "phase"]);
    !pod.deleting() && !matches!(phase, "Succeeded" | "Failed" | "Pending")
}

async fn allowed(call: &Call<'_>, target: &Target, pod: &Object) -> Result<(), ApiError> {
    let Some(row) = call.registry().row("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let budgets = Target { row, namespace: target.namespace.clone(), name: String::new() };
    let listing = call.registry().list(&budgets, &ListOptions::default()).await?;
    let matching: Vec<Object> = listing
        .records
        .iter()
        .map(|record| codec::json::parse_stored(&record.bytes))
        .filter(|budget| guards(budget, pod))
        .collect();
    if matching.len() > 1 {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::Internal(text.to_owned()));
    }
    let Some(budget) = matching.first() else { return Ok(()) };
    let number = |field| budget.get(&["status", field]).and_then(Value::as_i64).unwrap_or(0);
    if number("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let (name, needed, healthy) = (budget.name(), number("desiredHealthy"), number("currentHealthy"));
    Err(ApiError::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
        retry_after_seconds: 0,
        causes: vec![Cause {
            reason: "DisruptionBudget".to_owned(),
            message: format!(
                "The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            ),
            field: String::new(),
        }],
    })
}

fn guards(budget: &Object, pod: &Object) -> bool {
    let Some(selector) = budget.get(&["spec", "selector"]) else { return false };
    let Ok(selector) = LabelSelector::from_value(selector) else { return false };
    selector.matches(|key| pod.labels().find(|(it, _)| *it == key).map(|(_, value)| value))
}
