//! Who signs a certificate request must be allowed to for its signer.

use coracle_api::Object;

use super::{Attributes, Operation, signers};
use crate::{error::ApiError, resources::Part};

/// Refuses certificates and conditions.
///
/// # Errors
/// 403
pub fn validate(attributes: &Attributes<'_>, new: &Object, old: Option<&Object>) -> Result<(), ApiError> {
    let Some(old) = old else { return Ok(()) };
    let signs = attributes.operation == Operation::Update && attributes.part == Part::Status;
    if !signs || !attributes.is("certificates.k8s.io", "certificatesigningrequests") {
        return Ok(());
    }
    let same = |field| new.get(&["status", field]) == old.get(&["status", field]);
    let signer = old.get_str(&["spec", "signerName"]);
    if same("certificate") && same("conditions") || signers::allowed(attributes.user, "sign", signer) {
        return Ok(());
    }
    Err(attributes.forbid(old, format!("user not permitted to sign requests with signerName {signer:?}")))
}
