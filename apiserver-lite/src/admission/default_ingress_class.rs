//! An ingress that names no class gets the default one.

use coracle_api::Object;
use serde_json::Value;

use super::{Attributes, default_class};
use crate::error::ApiError;

const OLD_NAME: &str = "kubernetes.io/ingress.class";
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// Names the class.
///
/// # Errors
/// When classes cannot be looked up.
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    if !attributes.creates() || !attributes.is("networking.k8s.io", "ingresses") {
        return Ok(());
    }
    let named = new.get(&["spec", "ingressClassName"]).is_some_and(|it| !it.is_null());
    if named || new.annotation(OLD_NAME).is_some() {
        return Ok(());
    }
    let kind = ("networking.k8s.io", "ingressclasses");
    if let Some(name) = default_class::name(attributes.registry, kind, &[IS_DEFAULT]).await? {
        new.section_mut("spec").insert("ingressClassName".to_owned(), Value::String(name));
    }
    Ok(())
}
