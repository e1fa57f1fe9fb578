//! What is written is charged to the quotas of its namespace, and refused
//! where one would be exceeded.
//!
//! Start at [`charge::charges`]. The quotas' statuses are written before the
//! object is; what is charged for an object that then does not come is given
//! back by the controller, which counts again.
//! Invariant: a status is only ever written over the one that was read, so
//! writers together never exceed a quota.

mod charge;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use coracle_api::{Object, quota::Evaluator, quota::is_terminating};
use coracle_store::{Record, StoreError, Write as Commit};
use serde_json::Value;

use self::charge::{Charge, Quota, charges};
use super::{Attributes, Operation};
use crate::{
    codec,
    error::ApiError,
    registry::{Target, options::ListOptions, read::internal},
    resources::Part,
};

/// How long a write waits for those before it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often others may write a quota first.
const TRIES: usize = 10;

/// Charges a write, or refuses it.
///
/// # Errors
/// 403
pub async fn validate(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    let facts = &attributes.target.row.facts;
    let namespace = attributes.target.namespace.as_str();
    if namespace.is_empty() || attributes.is_core("namespaces") {
        return Ok(());
    }
    let Some(evaluator) = Evaluator::of(&facts.gvk.group, &facts.plural) else { return Ok(()) };
    if !concerns(&evaluator, attributes, new, old) || quotas(attributes).await?.is_empty() {
        return Ok(());
    }
    let value = |object: &Object| Value::Object(object.0.clone());
    let charge = Charge {
        evaluator,
        new: value(new),
        old: old.map(value),
        of_status: attributes.part == Part::Status,
        now: attributes.registry.config.clock.now(),
    };
    let charged = async {
        let _turn = attributes.registry.charging.take(namespace).await;
        carry_out(attributes, &charge, new).await
    };
    match tokio::time::timeout(PATIENCE, charged).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::Internal("resource quota evaluation timed out".to_owned())),
    }
}

/// Whether the write can change what is used.
fn concerns(evaluator: &Evaluator, attributes: &Attributes<'_>, new: &Object, old: Option<&Object>) -> bool {
    let creates = attributes.operation == Operation::Create;
    let terminating = |object: &Object| {
        object.get(&["spec"]).is_some_and(|spec| is_terminating(&serde_json::json!({ "spec": spec })))
    };
    match (evaluator, attributes.part) {
        (Evaluator::Pod, Part::Whole) => {
            creates || old.is_some_and(|old| terminating(old) != terminating(new))
        }
        (Evaluator::Pod, Part::Other("resize")) => !creates,
        (Evaluator::Service | Evaluator::Claim, Part::Whole) => true,
        (Evaluator::Claim, Part::Status) => {
            let allocated = |object: &Object| object.get(&["status", "allocatedResources"]).cloned();
            let class = |object: &Object| {
                ["currentVolumeAttributesClassName", "modifyVolumeStatus"]
                    .map(|name| object.get(&["status", name]).cloned())
            };
            old.is_some_and(|old| allocated(old) != allocated(new) || class(old) != class(new))
        }
        (Evaluator::Count(_), Part::Whole) => creates,
        _ => false,
    }
}

async fn quotas(attributes: &Attributes<'_>) -> Result<Vec<Arc<Record>>, ApiError> {
    let Some(row) = attributes.registry.row("", "v1", "resourcequotas") else { return Ok(Vec::new()) };
    let all = Target { row, namespace: attributes.target.namespace.clone(), name: String::new() };
    Ok(attributes.registry.list(&all, &ListOptions::default()).await?.records)
}

async fn carry_out(attributes: &Attributes<'_>, charge: &Charge, new: &Object) -> Result<(), ApiError> {
    // Those that were charged already are not charged again.
    let mut open: Option<Vec<Arc<str>>> = None;
    let mut last = None;
    for _ in 0..TRIES {
        let mut records = quotas(attributes).await?;
        records.retain(|record| open.as_ref().is_none_or(|open| open.iter().any(|key| **key == *record.key)));
        let known: Vec<Quota> = records
            .iter()
            .map(|record| Quota::read(&Value::Object(codec::json::parse_stored(&record.bytes).0)))
            .collect();
        let charged = charges(&known, charge).map_err(|reason| attributes.forbid(new, reason))?;
        if attributes.dry_run {
            return Ok(());
        }
        let mut overtaken = Vec::new();
        for (index, used) in charged {
            let Some(record) = records.get(index) else { continue };
            let mut object = codec::json::parse_stored(&record.bytes);
            let shown = used.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
            object.section_mut("status").insert("used".to_owned(), Value::Object(shown.collect()));
            let value = codec::json::encode(&object);
            let write =
                Commit::Update { key: record.key.clone(), expected: record.revision, value, ttl: None };
            match attributes.registry.store.commit(write).await {
                Ok(_) => {}
                Err(StoreError::RevisionMismatch { .. }) => {
                    last = Some(object.name().to_owned());
                    overtaken.push(Arc::from(&*record.key));
                }
                Err(error) => return Err(internal(error)),
            }
        }
        if overtaken.is_empty() {
            return Ok(());
        }
        open = Some(overtaken);
    }
    let facts = match attributes.registry.row("", "v1", "resourcequotas") {
        Some(row) => crate::error::Subject::of(&row.facts, last.as_deref().unwrap_or_default()),
        None => return Ok(()),
    };
    Err(ApiError::stale(facts))
}
