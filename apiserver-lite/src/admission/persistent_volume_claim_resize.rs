//! A claim grows only when it is bound and its class lets it.

use coracle_api::Object;

use super::{Attributes, Operation, default_storage_class::named};
use crate::{
    error::ApiError,
    registry::lookup,
    resources::{Part, core::pods::resources::amounts, tree::truth},
};

const REASON: &str = "only dynamically provisioned pvc can be resized and the storageclass that provisions the \
                      pvc must support resize";

/// Refuses growth.
///
/// # Errors
/// 403
pub async fn validate(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    let Some(old) = old else { return Ok(()) };
    let whole = attributes.operation == Operation::Update && attributes.part == Part::Whole;
    if !whole || !attributes.is_core("persistentvolumeclaims") {
        return Ok(());
    }
    let size = |claim: &Object| {
        amounts(claim.get(&["spec", "resources", "requests"])).remove("storage").unwrap_or_default()
    };
    if size(new) <= size(old) {
        return Ok(());
    }
    if old.get_str(&["status", "phase"]) != "Bound" {
        return Err(attributes.forbid(new, "Only bound persistent volume claims can be expanded"));
    }
    let class = named(new);
    if !class.is_empty() && class == named(old) {
        let kind = ("storage.k8s.io", "storageclasses");
        let found = lookup::object(attributes.registry, kind, "", class).await?;
        if found.is_some_and(|class| class.0.get("allowVolumeExpansion").is_some_and(truth)) {
            return Ok(());
        }
    }
    Err(attributes.forbid(new, REASON))
}
