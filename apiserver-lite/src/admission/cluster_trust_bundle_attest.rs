//! Who publishes a signer's trust bundle must be allowed to for that signer.

use coracle_api::Object;

use super::{Attributes, Operation, signers};
use crate::error::ApiError;

/// Refuses bundles.
///
/// # Errors
/// 403
pub fn validate(attributes: &Attributes<'_>, new: &Object, old: Option<&Object>) -> Result<(), ApiError> {
    if attributes.operation == Operation::Delete
        || !attributes.is("certificates.k8s.io", "clustertrustbundles")
    {
        return Ok(());
    }
    let signer = new.get_str(&["spec", "signerName"]);
    // The garbage collector and migrations change nothing of substance.
    let untouched = old.is_some_and(|old| substance(new) == substance(old));
    if signer.is_empty() || untouched || signers::allowed(attributes.user, "attest", signer) {
        return Ok(());
    }
    Err(attributes.forbid(new, format!("user not permitted to attest for signerName {signer:?}")))
}

fn substance(bundle: &Object) -> Object {
    let mut bundle = bundle.clone();
    for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
        bundle.set_meta(field, None);
    }
    bundle
}
