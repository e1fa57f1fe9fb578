//! Cluster trust bundles.

use std::collections::BTreeMap;

use coracle_api::{FieldError, FieldPath, Object, format};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer, X509Certificate},
};

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
        if old.is_some() {
            // Upstream looks at the name as if the bundle were new.
            let named = FieldPath::new("metadata").child("name");
            let faults = self.name_of(new, new.name(), false).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&named, new.name(), fault)));
        }
        if !signer.is_empty() {
            errors.extend(signer_name(signer, &path));
        }
        let bundle = new.get_str(&["spec", "trustBundle"]);
        // What was taken once is not read again.
        if old.is_none_or(|old| old.get_str(&["spec", "trustBundle"]) != bundle) {
            errors.extend(anchors(bundle));
        }
        if old.is_some_and(|old| old.get_str(&["spec", "signerName"]) != signer) {
            errors.push(FieldError::invalid(&path, signer, IMMUTABLE));
        }
        errors
    }

    // With a signer the name has its name in front, with colons.
    fn name_of(&self, object: &Object, name: &str, prefix: bool) -> Vec<String> {
        let signer = object.get_str(&["spec", "signerName"]);
        if signer.is_empty() {
            if name.contains(':') {
                return vec![
                    "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
                ];
            }
            return format::name_is_subdomain(name, prefix);
        }
        let before = format!("{}:", signer.replace('/', ":"));
        match name.strip_prefix(&before) {
            Some(own) => format::name_is_subdomain(own, prefix),
            None => {
                vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {before}")]
            }
        }
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

// What is wrong with a bundle of trust anchors in PEM.
fn anchors(bundle: &str) -> Vec<FieldError> {
    const MAX: usize = 1024 * 1024;
    let path = FieldPath::new("spec").child("trustBundle");
    if bundle.len() > MAX {
        return vec![FieldError::too_long(&path, MAX)];
    }
    let invalid = |detail: String| FieldError::invalid(&path, "<value omitted>", detail);
    let mut errors = Vec::new();
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, block) in Pem::iter_from_buffer(bundle.as_bytes()).map_while(Result::ok).enumerate() {
        match anchor_fault(&block) {
            Some(fault) => errors.push(invalid(format!("entry {index} {fault}"))),
            None => seen.entry(block.contents).or_default().push(index),
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if seen.is_empty() {
        return vec![invalid("at least one trust anchor must be provided".to_owned())];
    }
    let twice = seen.values().filter(|indices| indices.len() > 1);
    let list = |indices: &[usize]| indices.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    twice.map(|indices| invalid(format!("duplicate trust anchor (indices [{}])", list(indices)))).collect()
}

fn anchor_fault(block: &Pem) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    let Ok((_, certificate)) = X509Certificate::from_der(&block.contents) else {
        return Some("does not parse as X.509".to_owned());
    };
    let authority = certificate.basic_constraints().ok().flatten().is_some_and(|it| it.value.ca);
    (!authority).then(|| "does not have the CA bit set".to_owned())
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
