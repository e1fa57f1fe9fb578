//! Who approves a certificate request must be allowed to for its signer.

use coracle_api::Object;

use super::{Attributes, Operation, signers};
use crate::{error::ApiError, resources::Part};

/// Refuses approvals. The signer is that of the request before the update.
///
/// # Errors
/// 403
pub fn validate(attributes: &Attributes<'_>, old: Option<&Object>) -> Result<(), ApiError> {
    let Some(old) = old else { return Ok(()) };
    let approves = attributes.operation == Operation::Update && attributes.part == Part::Other("approval");
    if !approves || !attributes.is("certificates.k8s.io", "certificatesigningrequests") {
        return Ok(());
    }
    let signer = old.get_str(&["spec", "signerName"]);
    if signers::allowed(attributes.user, "approve", signer) {
        return Ok(());
    }
    Err(attributes.forbid(old, format!("user not permitted to approve requests with signerName {signer:?}")))
}
