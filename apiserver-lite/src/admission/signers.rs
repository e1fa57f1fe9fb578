//! Whether a user may act for a signer of certificates.

use crate::{authn::User, authz, request::RequestInfo};

/// Whether `user` may `verb` (approve, sign, attest) for the signer, or for all
/// signers of its domain.
pub fn allowed(user: &User, verb: &'static str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let info = RequestInfo {
            is_resource: true,
            verb,
            group: "certificates.k8s.io".to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..RequestInfo::default()
        };
        authz::allow(user, &info).is_ok()
    })
}
