//! Cluster trust bundles.

use coracle_api::{FieldError, FieldPath, Object, format};

use super::certificatesigningrequests::signer_name;
use crate::resources::{
    Column, Strategy, Write,
    columns::{NAME, filled_or},
    rules::IMMUTABLE,
    separate,
};

/// The behaviour of cluster trust bundles.
pub struct ClusterTrustBundles;

impl Strategy for ClusterTrustBundles {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let signer = new.get_str(&["spec", "signerName"]);
        let path = FieldPath::new("spec").child("signerName");
        let mut errors = Vec::new();
        if !signer.is_empty() {
            errors.extend(signer_name(signer, &path));
        }
        let named = FieldPath::new("metadata").child("name");
        let prefix = format!("{}:", signer.replace('/', ":"));
        if !signer.is_empty() && !new.name().starts_with(&prefix) {
            let detail =
                format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
            errors.push(FieldError::invalid(&named, new.name(), detail));
        } else if signer.is_empty() && new.name().contains(':') {
            let detail = "ClusterTrustBundle without signer name must not have \":\" in its name";
            errors.push(FieldError::invalid(&named, new.name(), detail));
        }
        if new.get_str(&["spec", "trustBundle"]).is_empty() {
            let path = FieldPath::new("spec").child("trustBundle");
            errors.push(FieldError::invalid(
                &path,
                "<value omitted>",
                "at least one trust anchor must be provided",
            ));
        }
        if old.is_some_and(|old| old.get_str(&["spec", "signerName"]) != signer) {
            errors.push(FieldError::invalid(&path, signer, IMMUTABLE));
        }
        errors
    }

    // With a signer the name has its name in front, with colons.
    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name.rsplit(':').next().unwrap_or(name), prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", object.get_str(&["spec", "signerName"]).to_owned())]
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "SignerName",
        "string",
        "signerName indicates the associated signer, if any.\n\nIn order to create or update a ClusterTrustBundle that sets signerName, you must have the following cluster-scoped permission: group=certificates.k8s.io resource=signers resourceName=<the signer name> verb=attest.\n\nIf signerName is not empty, then the ClusterTrustBundle object must be named with the signer name as a prefix (translating slashes to colons). For example, for the signer name `example.com/foo`, valid ClusterTrustBundle object names include `example.com:foo:abc` and `example.com:foo:v1`.\n\nIf signerName is empty, then the ClusterTrustBundle object's name must not have such a prefix.\n\nList/watch requests for ClusterTrustBundles can filter on this field using a `spec.signerName=NAME` field selector.",
        |it, _| filled_or(it, &["spec", "signerName"], "<none>"),
    ),
];
