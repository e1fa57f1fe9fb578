//! Nobody becomes an administrator by a certificate request.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::Object;
use x509_parser::{certification_request::X509CertificationRequest, pem::parse_x509_pem, prelude::FromDer};

use super::Attributes;
use crate::error::ApiError;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses requests for the group of administrators.
///
/// # Errors
/// 403
pub fn validate(attributes: &Attributes<'_>, new: &Object) -> Result<(), ApiError> {
    if !attributes.creates()
        || !attributes.is("certificates.k8s.io", "certificatesigningrequests")
        || new.get_str(&["spec", "signerName"]) != SIGNER
    {
        return Ok(());
    }
    match organizations(new.get_str(&["spec", "request"])) {
        None => {
            Err(attributes.forbid(new, "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"))
        }
        Some(groups) if groups.iter().any(|group| group == "system:masters") => {
            let reason = format!("use of {SIGNER} signer with system:masters group is not allowed");
            Err(attributes.forbid(new, reason))
        }
        Some(_) => Ok(()),
    }
}

fn organizations(request: &str) -> Option<Vec<String>> {
    let pem = STANDARD.decode(request).ok()?;
    let (_, block) = parse_x509_pem(&pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let names = request.certification_request_info.subject.iter_organization();
    Some(names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect())
}
