//! Pod certificate requests.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::json;

use super::certificatesigningrequests::signer_name;
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{NAME, labels, show},
    rules::IMMUTABLE,
    separate,
    tree::{field, list, section, text},
};

/// The behaviour of pod certificate requests.
pub struct PodCertificateRequests;

impl Strategy for PodCertificateRequests {
    fn default(&self, object: &mut Object) {
        object.section_mut("spec").entry("maxExpirationSeconds").or_insert_with(|| json!(86400));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = FieldPath::new("spec");
        match (write.part, old) {
            (Part::Status, _) => Vec::new(),
            (_, Some(old)) if section(old, "spec") != section(new, "spec") => {
                vec![FieldError::invalid(&spec, section(new, "spec").clone(), IMMUTABLE)]
            }
            (_, Some(_)) => Vec::new(),
            (_, None) => {
                let mut errors = signer_name(new.get_str(&["spec", "signerName"]), &spec.child("signerName"));
                for name in ["podName", "serviceAccountName", "nodeName"] {
                    let value = new.get_str(&["spec", name]);
                    let faults = format::dns1123_subdomain(value);
                    let path = spec.child(name);
                    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, value, fault)));
                }
                errors
            }
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.signerName", "spec.podName", "spec.nodeName"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        let of = |name: &str| object.get_str(&["spec", name]).to_owned();
        vec![
            ("spec.signerName", of("signerName")),
            ("spec.podName", of("podName")),
            ("spec.nodeName", of("nodeName")),
        ]
    }
}

fn state(request: &Object) -> &str {
    let mut conditions = list(field(request, &["status", "conditions"])).iter().map(|it| text(&it["type"]));
    conditions.rfind(|kind| ["Issued", "Denied", "Failed"].contains(kind)).unwrap_or("Pending")
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "PodName",
        "string",
        "podName is the name of the pod into which the certificate will be mounted.",
        |it, _| show(it, &["spec", "podName"]),
    ),
    Column::new(
        "ServiceAccountName",
        "string",
        "serviceAccountName is the name of the service account the pod is running as.",
        |it, _| show(it, &["spec", "serviceAccountName"]),
    ),
    Column::new("NodeName", "string", "nodeName is the name of the node the pod is assigned to.", |it, _| {
        show(it, &["spec", "nodeName"])
    }),
    Column::new(
        "SignerName",
        "string",
        "signerName indicates the requested signer.\n\nAll signer names beginning with `kubernetes.io` are reserved for use by the Kubernetes project.  There is currently one well-known signer documented by the Kubernetes project, `kubernetes.io/kube-apiserver-client-pod`, which will issue client certificates understood by kube-apiserver.  It is currently unimplemented.",
        |it, _| show(it, &["spec", "signerName"]),
    ),
    Column::new("State", "string", "Is the request Pending, Issued, Denied, or Failed?", |it, _| {
        state(it).into()
    }),
    Column::new(
        "UnverifiedUserAnnotations",
        "string",
        "unverifiedUserAnnotations allow pod authors to pass additional information to the signer implementation.  Kubernetes does not restrict or validate this metadata in any way.\n\nEntries are subject to the same validation as object metadata annotations, with the addition that all keys must be domain-prefixed. No restrictions are placed on values, except an overall size limitation on the entire field.\n\nSigners should document the keys and values they support.  Signers should deny requests that contain keys they do not recognize.",
        |it, _| labels(field(it, &["spec", "unverifiedUserAnnotations"])).into(),
    ),
];
