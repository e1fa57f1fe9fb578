//! Pod certificate requests.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{certificatesigningrequests::signer_name, issuance::issue};
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{NAME, labels, show},
    rules::IMMUTABLE,
    separate_wholly,
    tree::{field, list, number, section, text},
    workloads::showing,
};

const MAX_UID: usize = 128;

/// The behaviour of pod certificate requests.
pub struct PodCertificateRequests;

impl Strategy for PodCertificateRequests {
    fn default(&self, object: &mut Object) {
        object.section_mut("spec").entry("maxExpirationSeconds").or_insert_with(|| json!(86400));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = FieldPath::new("spec");
        match (write.part, old) {
            (Part::Status, Some(old)) => issue(new, old, write.now),
            (_, Some(old)) if section(old, "spec") != section(new, "spec") => {
                let error = FieldError::invalid(&spec, Value::Null, IMMUTABLE);
                vec![showing(error, "PodCertificateRequestSpec", section(new, "spec"))]
            }
            (_, Some(_)) => Vec::new(),
            (_, None) => {
                let mut errors = signer_name(new.get_str(&["spec", "signerName"]), &spec.child("signerName"));
                errors.extend(annotations(field(new, &["spec", "unverifiedUserAnnotations"])));
                for (name, uid) in [
                    ("podName", "podUID"),
                    ("serviceAccountName", "serviceAccountUID"),
                    ("nodeName", "nodeUID"),
                ] {
                    let value = new.get_str(&["spec", name]);
                    let faults = format::dns1123_subdomain(value);
                    let path = spec.child(name);
                    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, value, fault)));
                    let (value, path) = (new.get_str(&["spec", uid]), spec.child(uid));
                    if value.is_empty() {
                        errors.push(FieldError::invalid(&path, value, "must not be empty"));
                    } else if value.len() > MAX_UID {
                        errors.push(FieldError::too_long(&path, MAX_UID));
                    }
                }
                errors.extend(duration(section(new, "spec")));
                errors.extend(proof(section(new, "spec")));
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

    fn selects_namespaces(&self) -> bool {
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

// Each key has a domain; their case does not matter.
fn annotations(annotations: &Value) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("unverifiedUserAnnotations");
    let keys = annotations.as_object().into_iter().flatten().map(|(key, _)| key.to_lowercase());
    let of_key = |key: String| -> Vec<FieldError> {
        if key.is_empty() {
            return vec![FieldError::required(&path, "")];
        }
        let faults = format::qualified_name(&key);
        if !faults.is_empty() {
            return faults.into_iter().map(|fault| FieldError::invalid(&path, key.as_str(), fault)).collect();
        }
        if key.contains('/') {
            return Vec::new();
        }
        let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
        vec![FieldError::invalid(&path, key.as_str(), detail)]
    };
    keys.flat_map(of_key).collect()
}

// Seconds that the signers of Kubernetes itself, and all others, may be asked for.
fn duration(spec: &Value) -> Option<FieldError> {
    let of_kubernetes = text(&spec["signerName"]).starts_with("kubernetes.io/");
    let (least, most) = (3600, if of_kubernetes { 86_400 } else { 7_862_400 });
    let seconds = &spec["maxExpirationSeconds"];
    (!(least..=most).contains(&number(seconds))).then(|| {
        let path = FieldPath::new("spec").child("maxExpirationSeconds");
        FieldError::invalid(&path, seconds.clone(), format!("must be in the range [{least}, {most}]"))
    })
}

// The key is shown by a request for a certificate, or by itself and a signature.
fn proof(spec: &Value) -> Option<FieldError> {
    let path = FieldPath::new("spec");
    let given = |name: &str| !text(&spec[name]).is_empty();
    match (given("stubPKCS10Request"), given("pkixPublicKey"), given("proofOfPossession")) {
        (true, false, false) => {
            let der = STANDARD.decode(text(&spec["stubPKCS10Request"])).unwrap_or_default();
            let path = path.child("stubPKCS10Request");
            request_fault(&der).map(|fault| FieldError::invalid(&path, Value::Null, fault).valueless())
        }
        (false, true, true) => None,
        _ => {
            let detail =
                "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            Some(FieldError::invalid(&path, Value::Null, detail).valueless())
        }
    }
}

fn request_fault(der: &[u8]) -> Option<&'static str> {
    match X509CertificationRequest::from_der(der) {
        Ok(([], _)) => None,
        _ => Some("must be a valid PKCS#10 CSR"),
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
