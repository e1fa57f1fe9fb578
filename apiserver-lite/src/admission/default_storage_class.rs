//! A claim that names no storage class gets the default one.

use coracle_api::Object;
use serde_json::Value;

use super::{Attributes, default_class};
use crate::error::ApiError;

const OLD_NAME: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Names the class.
///
/// # Errors
/// When classes cannot be looked up.
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    if !attributes.creates() || !attributes.is_core("persistentvolumeclaims") {
        return Ok(());
    }
    // The empty name is a name: it asks for no class at all.
    let named = new.get(&["spec", "storageClassName"]).is_some_and(|it| !it.is_null());
    if named || new.annotation(OLD_NAME).is_some() {
        return Ok(());
    }
    let kind = ("storage.k8s.io", "storageclasses");
    if let Some(name) = default_class::name(attributes.registry, kind, IS_DEFAULT).await? {
        new.section_mut("spec").insert("storageClassName".to_owned(), Value::String(name));
    }
    Ok(())
}

/// The class that a claim names, or the empty text.
pub(super) fn named(claim: &Object) -> &str {
    claim.annotation(OLD_NAME).unwrap_or_else(|| claim.get_str(&["spec", "storageClassName"]))
}
