//! What signers say of pod certificate requests: issued, denied or failed, once.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{FieldError, FieldPath, Object};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use x509_parser::{
    certification_request::X509CertificationRequest,
    pem::Pem,
    prelude::{FromDer, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use crate::resources::{
    conditions::conditions,
    rules::{Errors, Place},
    tree::{field, list, number, section, set, text},
};

const VERDICTS: &[&str] = &["Issued", "Denied", "Failed"];

/// What is wrong with a status that a signer wrote.
pub fn issue(new: &Object, old: &Object, now: Timestamp) -> Errors {
    let path = FieldPath::new("status");
    let mut errors = verdicts(new, &path.child("conditions"));
    let place = Place::object(new, None);
    let status = place.field("status");
    if let Some(list) = status.as_ref().and_then(|status| status.field("conditions")) {
        conditions(&list, &mut errors);
    }
    if !errors.is_empty() {
        return errors;
    }
    let refuse = |detail: &str| vec![FieldError::invalid(&path, Value::Null, detail).valueless()];
    let changed = section(new, "status") != section(old, "status");
    match (verdict(old), verdict(new)) {
        (Some(_), _) if changed => {
            refuse("immutable after PodCertificateRequest is issued, denied, or failed")
        }
        (Some(_), _) => Errors::new(),
        (None, Some("Issued")) => issued(new, now).err().unwrap_or_default(),
        (None, Some(_)) => {
            let others = section(new, "status").as_object().into_iter().flatten();
            if others.into_iter().any(|(name, value)| name != "conditions" && set(value)) {
                refuse(
                    "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
                )
            } else {
                Errors::new()
            }
        }
        (None, None) if changed => {
            refuse("status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"")
        }
        (None, None) => Errors::new(),
    }
}

// The first verdict that a request has.
fn verdict(request: &Object) -> Option<&str> {
    let mut kinds = list(field(request, &["status", "conditions"])).iter().map(|it| text(&it["type"]));
    kinds.find(|kind| VERDICTS.contains(kind))
}

fn verdicts(new: &Object, path: &FieldPath) -> Errors {
    let mut errors = Errors::new();
    let mut known = 0;
    for (index, condition) in list(field(new, &["status", "conditions"])).iter().enumerate() {
        // Upstream writes a point before the bracket.
        let path = path.child(&format!("[{index}]"));
        let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
        if !VERDICTS.contains(&kind) {
            errors.push(FieldError::not_supported(&path.child("type"), kind, VERDICTS));
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        if status != "True" {
            errors.push(FieldError::not_supported(&path.child("status"), status, &["True"]));
        }
    }
    errors
}

// A certificate that was issued: for the key that was shown, and for the time that the status says.
fn issued(new: &Object, now: Timestamp) -> Result<(), Errors> {
    const LONGEST: usize = 10 * 1024;
    let status = section(new, "status");
    let path = FieldPath::new("status").child("certificateChain");
    let chain = text(&status["certificateChain"]);
    if chain.len() > LONGEST {
        return Err(vec![FieldError::too_long(&path, LONGEST)]);
    }
    let refuse = |detail: &str| vec![FieldError::invalid(&path, chain, detail)];
    let blocks: Vec<Pem> = Pem::iter_from_buffer(chain.as_bytes()).map_while(Result::ok).collect();
    let Some((leaf, others)) = blocks.split_first() else {
        return Err(refuse("issued certificate chain must contain at least one certificate"));
    };
    if leaf.label != "CERTIFICATE" {
        return Err(refuse("issued certificate chain must consist entirely of CERTIFICATE PEM blocks"));
    }
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf.contents) else {
        return Err(refuse("leaf certificate does not parse as valid X.509"));
    };
    if shown_key(section(new, "spec")).is_none_or(|key| key != leaf.public_key().raw) {
        return Err(refuse("leaf certificate was not issued to the requested public key"));
    }
    times(status, &leaf, section(new, "spec"), now)?;
    for block in others {
        if block.label != "CERTIFICATE" {
            // Upstream's word.
            return Err(refuse("issued certificate chain must consist entirely of CERTFICATE PEM blocks"));
        }
        if X509Certificate::from_der(&block.contents).is_err() {
            return Err(refuse("intermediate certificate does not parse as valid X.509"));
        }
    }
    Ok(())
}

// The key that the request is for.
fn shown_key(spec: &Value) -> Option<Vec<u8>> {
    let of = |name: &str| STANDARD.decode(text(&spec[name])).unwrap_or_default();
    let request = of("stubPKCS10Request");
    if request.is_empty() {
        let key = of("pkixPublicKey");
        return SubjectPublicKeyInfo::from_der(&key).ok().map(|(_, key)| key.raw.to_vec());
    }
    let (_, request) = X509CertificationRequest::from_der(&request).ok()?;
    Some(request.certification_request_info.subject_pki.raw.to_vec())
}

fn times(status: &Value, leaf: &X509Certificate<'_>, spec: &Value, now: Timestamp) -> Result<(), Errors> {
    const NEAR: SignedDuration = SignedDuration::from_mins(5);
    const MARGIN: SignedDuration = SignedDuration::from_mins(10);
    const CONSISTENT: &str = "must be present and consistent with the issued certificate";
    let path = FieldPath::new("status");
    let time = |name: &str| text(&status[name]).parse::<Timestamp>().ok();
    let (Some(from), Some(until), Some(refresh)) =
        (time("notBefore"), time("notAfter"), time("beginRefreshAt"))
    else {
        let details = [
            ("notBefore", CONSISTENT),
            ("notAfter", CONSISTENT),
            ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
        ];
        let missing = details.iter().filter(|(name, _)| time(name).is_none());
        return Err(missing.map(|(name, detail)| FieldError::required(&path.child(name), *detail)).collect());
    };
    let refuse = |name: &str, detail: &str| {
        Err(vec![FieldError::invalid(&path.child(name), status[name].clone(), detail)])
    };
    let of_leaf = leaf.validity();
    if from.as_second() != of_leaf.not_before.timestamp() {
        return refuse("notBefore", "must be set to the NotBefore time encoded in the leaf certificate");
    }
    if from.duration_since(now).abs() > NEAR {
        return refuse("notBefore", "must be set to within 5 minutes of kube-apiserver's current time");
    }
    if until.as_second() != of_leaf.not_after.timestamp() {
        return refuse("notAfter", "must be set to the NotAfter time encoded in the leaf certificate");
    }
    let life = until.duration_since(from);
    let most = number(&spec["maxExpirationSeconds"]);
    let lifetime = |detail: String| {
        let error = FieldError::invalid(&path.child("certificateChain"), life.as_secs(), detail);
        // Go shows a span of time by its nanoseconds.
        Err(vec![error.showing(life.as_nanos().to_string())])
    };
    if life < SignedDuration::from_hours(1) {
        return lifetime("leaf certificate lifetime must be >= 1 hour".to_owned());
    }
    if life > SignedDuration::from_secs(most) {
        return lifetime(format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"));
    }
    if refresh.duration_since(from) < MARGIN {
        return refuse("beginRefreshAt", "must be at least 10 minutes after status.notBefore");
    }
    if until.duration_since(refresh) < MARGIN {
        return refuse("beginRefreshAt", "must be at least 10 minutes before status.notAfter");
    }
    Ok(())
}
