//! A pod grows only as far as its node could ever give.

use coracle_api::{Object, status::Cause};

use super::{Attributes, Operation};
use crate::{
    error::ApiError,
    registry::lookup,
    resources::{
        Part,
        core::pods::resources::{Amounts, amounts, requests},
    },
};

/// Refuses resizes.
///
/// # Errors
/// 403 with the cause `NodeCapacity` or `UnsupportedPlatform`
pub async fn validate(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    let resizes = attributes.operation == Operation::Update && attributes.part == Part::Other("resize");
    let name = new.get_str(&["spec", "nodeName"]);
    let same = old.is_some_and(|old| old.generation() == new.generation());
    if !resizes || !attributes.is_core("pods") || name.is_empty() || same {
        return Ok(());
    }
    let Some(node) = lookup::object(attributes.registry, ("", "nodes"), "", name).await? else {
        return Err(attributes.forbid(new, format!("node {name:?} not found")));
    };
    let system = node.labels().find(|(key, _)| *key == "kubernetes.io/os").map(|(_, value)| value);
    if let Some(system) = system.filter(|it| *it != "linux") {
        let reason = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Err(refused(attributes, new, reason, "UnsupportedPlatform"));
    }
    let short = lacking(&requests(new), &amounts(node.get(&["status", "allocatable"])));
    if short.is_empty() {
        return Ok(());
    }
    let reason = format!("node didn't have enough allocatable resources: {}", short.join("; "));
    Err(refused(attributes, new, reason, "NodeCapacity"))
}

fn lacking(requests: &Amounts, allocatable: &Amounts) -> Vec<String> {
    let of = |amounts: &Amounts, name: &str| amounts.get(name).cloned().unwrap_or_default();
    let mut texts = Vec::new();
    let (wanted, there) = (of(requests, "cpu"), of(allocatable, "cpu"));
    if wanted > there {
        let (wanted, there) = (wanted.milli_value(), there.milli_value());
        texts.push(format!("cpu, requested: {wanted}, allocatable: {there}"));
    }
    let (wanted, there) = (of(requests, "memory"), of(allocatable, "memory"));
    if wanted > there {
        texts.push(format!("memory, requested: {}, allocatable: {}", wanted.value(), there.value()));
    }
    texts
}

fn refused(attributes: &Attributes<'_>, pod: &Object, reason: String, cause: &str) -> ApiError {
    let mut status = attributes.forbid(pod, reason).status();
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { reason: cause.to_owned(), ..Cause::default() });
    }
    ApiError::Status(Box::new(status))
}
