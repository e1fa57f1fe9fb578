//! Certificate signing requests.

use std::{cmp::Ordering, collections::BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::authn::User;
use crate::resources::{
    Column, Part, Strategy, Write, age,
    columns::{AGE, NAME, filled_or, show},
    restore,
    tree::{field, list, number, objects_mut, section, set, text, texts, time},
};

/// The behaviour of certificate signing requests.
pub struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        let Some(old) = old else {
            let spec = new.section_mut("spec");
            for name in ["username", "uid", "groups", "extra"] {
                spec.remove(name);
            }
            // Who asks is who writes, whatever the request says.
            let User { name, uid, groups, extra } = write.user;
            for (field, value) in [("username", name), ("uid", uid)] {
                if !value.is_empty() {
                    spec.insert(field.to_owned(), value.as_str().into());
                }
            }
            if !groups.is_empty() {
                spec.insert("groups".to_owned(), json!(groups));
            }
            if !extra.is_empty() {
                spec.insert("extra".to_owned(), json!(extra));
            }
            new.0.insert("status".to_owned(), json!({}));
            return;
        };
        restore(new, old, "spec");
        match write.part {
            Part::Status => {
                keep_verdicts(new, old);
                stamp_conditions(new, old, time(write.now));
            }
            Part::Other("approval") => {
                stamp_conditions(new, old, time(write.now));
                let conditions = field(new, &["status", "conditions"]).clone();
                restore(new, old, "status");
                let status = new.section_mut("status");
                match conditions {
                    Value::Null => status.remove("conditions"),
                    conditions => status.insert("conditions".to_owned(), conditions),
                };
            }
            _ => restore(new, old, "status"),
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = if old.is_some() { Vec::new() } else { spec(section(new, "spec")) };
        errors.extend(conditions(new));
        if old.is_none_or(|old| issued(old) != issued(new))
            && let Some(fault) = certificate_fault(issued(new))
        {
            let path = FieldPath::new("status").child("certificate");
            errors.push(FieldError::invalid(&path, "<certificate data>", fault));
        }
        if let Some(old) = old {
            errors.extend(update(write.part, new, old));
        }
        errors
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", object.get_str(&["spec", "signerName"]).to_owned())]
    }
}

const VERDICTS: [&str; 2] = ["Approved", "Denied"];

fn of_type<'a>(request: &'a Object, kind: &str) -> Vec<&'a Value> {
    list(field(request, &["status", "conditions"])).iter().filter(|it| text(&it["type"]) == kind).collect()
}

// Writes to the status neither make nor change an approval or denial.
fn keep_verdicts(new: &mut Object, old: &Object) {
    for kind in VERDICTS {
        let before: Vec<Value> = of_type(old, kind).into_iter().cloned().collect();
        let mut kept = before.iter();
        let given = of_type(new, kind).len();
        let mut conditions: Vec<Value> = list(field(new, &["status", "conditions"])).to_vec();
        if given == before.len() {
            for condition in conditions.iter_mut().filter(|it| text(&it["type"]) == kind) {
                if let Some(before) = kept.next() {
                    *condition = before.clone();
                }
            }
            if !conditions.is_empty() {
                new.section_mut("status").insert("conditions".to_owned(), Value::Array(conditions));
            }
        }
    }
}

fn stamp_conditions(new: &mut Object, old: &Object, now: Value) {
    let before = list(field(old, &["status", "conditions"])).to_vec();
    let Some(Value::Object(status)) = new.0.get_mut("status") else { return };
    for condition in objects_mut(status, "conditions") {
        condition.entry("lastUpdateTime").or_insert_with(|| now.clone());
        if condition.get("lastTransitionTime").is_some_and(set) {
            continue;
        }
        let same = |it: &&Value| {
            ["type", "status"].iter().all(|name| condition.get(*name) == it.get(*name))
                && set(&it["lastTransitionTime"])
        };
        let stamp =
            before.iter().find(same).map_or_else(|| now.clone(), |it| it["lastTransitionTime"].clone());
        condition.insert("lastTransitionTime".to_owned(), stamp);
    }
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn spec(spec: &Value) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    if let Some(fault) = request_fault(text(&spec["request"])) {
        errors.push(FieldError::invalid(&path.child("request"), spec["request"].clone(), fault));
    }
    let usages = texts(&spec["usages"]);
    let at = path.child("usages");
    if usages.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.push(FieldError::not_supported(&at.index(index), *usage, USAGES));
    }
    for (index, usage) in usages.iter().enumerate().filter(|(index, usage)| usages[..*index].contains(usage))
    {
        errors.push(FieldError::duplicate(&at.index(index), *usage));
    }
    let signer = text(&spec["signerName"]);
    let at = path.child("signerName");
    if signer == "kubernetes.io/legacy-unknown" {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&at, signer, detail));
    } else {
        errors.extend(signer_name(signer, &at));
    }
    let seconds = &spec["expirationSeconds"];
    if set(seconds) && number(seconds) < 600 {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds.clone(), detail));
    }
    errors
}

// Why a request is no certificate request in PEM.
fn request_fault(base64: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let pem = String::from_utf8_lossy(&bytes);
    let body =
        pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE REQUEST-----"));
    let Some((body, _)) = body else {
        return Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    let compact: String = body.split_whitespace().collect();
    let der = STANDARD.decode(compact).unwrap_or_default();
    use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};
    match X509CertificationRequest::from_der(&der) {
        Ok(_) => None,
        Err(_) => Some("asn1: structure error: tags don't match".to_owned()),
    }
}

/// What is wrong with the name of a signer.
pub fn signer_name(name: &str, path: &FieldPath) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, name, detail)];
    };
    const MAX_DOMAIN: usize = 253;
    const MAX: usize = MAX_DOMAIN + (253 + 63 + 1) + 1;
    let mut errors = Vec::new();
    if domain.len() > MAX_DOMAIN {
        errors.push(FieldError::too_long(path, MAX_DOMAIN));
    }
    errors.extend(labels(domain, format::dns1123_label, path));
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, *domain, detail));
    }
    errors.extend(labels(rest, format::dns1123_subdomain, path));
    if name.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    errors
}

// The faults of the first label that has some.
fn labels(part: &str, faults: fn(&str) -> Vec<String>, path: &FieldPath) -> Vec<FieldError> {
    let wrong = part.split('.').map(|label| (label, faults(label))).find(|(_, faults)| !faults.is_empty());
    let Some((label, faults)) = wrong else { return Vec::new() };
    let details = faults.into_iter().map(|fault| format!("validating label {label:?}: {fault}"));
    details.map(|detail| FieldError::invalid(path, part, detail)).collect()
}

fn conditions(request: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("conditions");
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, condition) in list(field(request, &["status", "conditions"])).iter().enumerate() {
        let at = path.index(index);
        let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
        if kind.is_empty() {
            errors.push(FieldError::required(&at.child("type"), ""));
        }
        let verdict = ["Approved", "Denied", "Failed"].contains(&kind);
        let allowed: &[&str] = if verdict { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(FieldError::required(&at.child("status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(FieldError::not_supported(&at.child("status"), status, allowed));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(other) && !other.is_empty() {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path, kind, detail));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&at.child("type"), kind));
        }
    }
    errors
}

fn issued(request: &Object) -> &str {
    text(field(request, &["status", "certificate"]))
}

// Why what was issued is no certificates in PEM.
fn certificate_fault(base64: &str) -> Option<String> {
    use x509_parser::{
        pem::Pem,
        prelude::{FromDer, X509Certificate},
    };
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    if bytes.is_empty() {
        return None;
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&bytes) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        blocks += 1;
        if X509Certificate::from_der(&block.contents).is_err() {
            return Some("x509: malformed certificate".to_owned());
        }
    }
    (blocks == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

// An approval, denial or failure stays; so does a certificate. Approvals come
// by their own way only, certificates by that of the status.
fn update(part: Part<'_>, new: &Object, old: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("conditions");
    let mut errors = Vec::new();
    for kind in ["Approved", "Denied", "Failed"] {
        let (before, now) = (of_type(old, kind), of_type(new, kind));
        if before.len() > now.len() {
            errors.push(FieldError::forbidden(
                &path,
                format!("updates may not remove a condition of type {kind:?}"),
            ));
        }
    }
    for kind in VERDICTS.into_iter().filter(|_| part != Part::Other("approval")) {
        let (before, now) = (of_type(old, kind), of_type(new, kind));
        let what = match now.len().cmp(&before.len()) {
            Ordering::Less => continue,
            Ordering::Greater => "add",
            Ordering::Equal if before == now => continue,
            Ordering::Equal => "modify",
        };
        errors.push(FieldError::forbidden(
            &path,
            format!("updates may not {what} a condition of type {kind:?}"),
        ));
    }
    if issued(old) != issued(new) {
        let path = FieldPath::new("status").child("certificate");
        if part != Part::Status {
            errors.push(FieldError::forbidden(&path, "updates may not set certificate content"));
        } else if !issued(old).is_empty() {
            errors.push(FieldError::forbidden(&path, "updates may not modify existing certificate content"));
        }
    }
    errors
}

fn condition(request: &Object) -> String {
    let has = |kind: &str| !of_type(request, kind).is_empty();
    let mut shown = if has("Denied") {
        "Denied".to_owned()
    } else if has("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !text(field(request, &["status", "certificate"])).is_empty() {
        shown.push_str(",Issued");
    }
    shown
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    AGE,
    Column::new(
        "SignerName",
        "string",
        "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
        |it, _| filled_or(it, &["spec", "signerName"], "<none>"),
    ),
    Column::new("Requestor", "string", "Base64-encoded PKCS#10 CSR data", |it, _| {
        show(it, &["spec", "username"])
    }),
    Column::new(
        "RequestedDuration",
        "string",
        "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes.",
        |it, _| match field(it, &["spec", "expirationSeconds"]) {
            Value::Null => "<none>".into(),
            seconds => age::human(number(seconds)).into(),
        },
    ),
    Column::new(
        "Condition",
        "string",
        "Conditions applied to the request, such as approval or denial.",
        |it, _| condition(it).into(),
    ),
];
