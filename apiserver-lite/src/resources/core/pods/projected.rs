//! Projected volumes: several sources in one directory.

use std::collections::HashSet;

use coracle_api::{FieldError, format};
use serde_json::Value;

use super::internal::Internal;
use super::volumes::{DOWNWARD_FILE, KEY_TO_PATH, MODE, USER, local};
use crate::resources::{
    label_selectors::SELECTOR,
    rules::{Check, Errors, Place, Rule, check},
};

/// `projected`
pub static PROJECTED: &[Check] =
    &[Check::Field("defaultMode", MODE), Check::Field("defaultUser", USER), Check::With(sources)];

const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Validates one kind of source.
type Source = fn(&Place<'_>, &mut Taken<'_>, &mut Errors);

/// The paths that sources took so far.
struct Taken<'a> {
    projected: &'a Place<'a>,
    paths: HashSet<String>,
}

impl Taken<'_> {
    // Upstream shows the source's name for some, and names the whole volume.
    fn take(&mut self, path: &str, shown: &str, errors: &mut Errors) {
        if !self.paths.insert(path.to_owned()) {
            let detail = "conflicting duplicate paths";
            errors.push(FieldError::invalid(&self.projected.path(), shown, detail));
        }
    }
}

fn sources(projected: &Place<'_>, errors: &mut Errors) {
    let Some(list) = projected.field("sources") else { return };
    let mut taken = Taken { projected, paths: HashSet::new() };
    for source in list.items() {
        let mut found = 0;
        let kinds: [(&str, Source); 6] = [
            ("secret", keys),
            ("configMap", keys),
            ("downwardAPI", downward),
            ("serviceAccountToken", token),
            ("clusterTrustBundle", bundle),
            ("podCertificate", certificate),
        ];
        for (field, validate) in kinds {
            if let Some(place) = source.field(field) {
                found += 1;
                validate(&place, &mut taken, errors);
            }
        }
        if found > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&source.path(), detail));
        }
    }
}

fn keys(source: &Place<'_>, taken: &mut Taken<'_>, errors: &mut Errors) {
    check(&[Check::Field("name", &[Rule::Required("")])], source, errors);
    let Some(items) = source.field("items") else { return };
    for item in items.items() {
        check(KEY_TO_PATH, &item, errors);
        if !item.text("path").is_empty() {
            taken.take(item.text("path"), source.text("name"), errors);
        }
    }
}

fn downward(source: &Place<'_>, taken: &mut Taken<'_>, errors: &mut Errors) {
    for file in source.list("items") {
        let file = source.here(file);
        check(DOWNWARD_FILE, &file, errors);
        let path = file.text("path");
        if !path.is_empty() {
            taken.take(path, path, errors);
        }
    }
}

fn token(token: &Place<'_>, taken: &mut Taken<'_>, errors: &mut Errors) {
    static EXPIRATION: &[Check] = &[Check::Field(
        "expirationSeconds",
        &[
            Rule::Required(""),
            Rule::AtLeast(600, "may not specify a duration less than 10 minutes"),
            Rule::AtMost(1 << 32, "may not specify a duration larger than 2^32 seconds"),
        ],
    )];
    static USER_FIELD: &[Check] = &[Check::Field("user", USER)];
    check(EXPIRATION, token, errors);
    // Upstream's path is the volume's.
    static PATH: &[Check] = &[Check::Field("path", &[Rule::Required(""), Rule::Format(local)])];
    check(PATH, &taken.projected.here(token.value()), errors);
    check(USER_FIELD, token, errors);
}

fn bundle(bundle: &Place<'_>, taken: &mut Taken<'_>, errors: &mut Errors) {
    let text = |field: &str| bundle.get(field).and_then(Value::as_str);
    match (text("name"), text("signerName")) {
        (Some(_), Some(_)) => {
            let detail = "only one of name and signerName may be used";
            let shown = Internal::read().compact("ClusterTrustBundleProjection", bundle.value());
            errors.push(FieldError::invalid(&bundle.path(), bundle.value().clone(), detail).showing(shown));
        }
        (Some(name), None) => bundle_name(bundle, name, errors),
        (None, Some(signer)) => {
            let path = bundle.path_of("signerName");
            if signer.is_empty() {
                errors.push(FieldError::required(&path, "must be a valid signer name"));
            }
            signer_name(bundle, errors);
            check(&[Check::Within("labelSelector", SELECTOR)], bundle, errors);
        }
        (None, None) => {
            let detail = "either name or signerName must be specified";
            errors.push(FieldError::required(&bundle.path(), detail));
        }
    }
    static REST: &[Check] = &[
        Check::Field("path", &[Rule::Required("")]),
        Check::Field("user", USER),
        Check::Field("path", &[Rule::Format(local)]),
    ];
    check(REST, bundle, errors);
    taken.take(bundle.text("path"), bundle.text("path"), errors);
}

fn bundle_name(bundle: &Place<'_>, name: &str, errors: &mut Errors) {
    let path = bundle.path_of("name");
    if name.is_empty() {
        errors.push(FieldError::required(&path, "must be a valid object name"));
    }
    // A bundle of a signer is named after it: `example.com:signer:name`.
    let plain = name.rsplit_once(':').map_or(name, |(_, plain)| plain);
    for fault in format::name_is_subdomain(plain, false) {
        let detail = format!("not a valid clustertrustbundlename: {fault}");
        errors.push(FieldError::invalid(&path, name, detail));
    }
    if let Some(selector) = bundle.get("labelSelector") {
        let detail = "labelSelector must be unset if name is specified";
        errors.push(FieldError::invalid(&bundle.path_of("labelSelector"), selector.clone(), detail));
    }
}

// `example.com/signer`
fn signer_name(place: &Place<'_>, errors: &mut Errors) {
    let (name, path) = (place.text("signerName"), place.path_of("signerName"));
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(&path, name, detail));
        return;
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(&path, 253));
    }
    let labels = |text: &str, rule: fn(&str) -> Vec<String>, errors: &mut Errors| {
        let wrong = text.split('.').find(|label| !rule(label).is_empty());
        for (label, fault) in
            wrong.into_iter().flat_map(|it| rule(it).into_iter().map(move |fault| (it, fault)))
        {
            errors.push(FieldError::invalid(&path, text, format!("validating label {label:?}: {fault}")));
        }
    };
    labels(domain, format::dns1123_label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(&path, *domain, detail));
    }
    labels(rest, format::dns1123_subdomain, errors);
    // The domain, the slash, and as much again for what follows.
    if name.len() > 571 {
        errors.push(FieldError::too_long(&path, 571));
    }
}

fn certificate(certificate: &Place<'_>, taken: &mut Taken<'_>, errors: &mut Errors) {
    signer_name(certificate, errors);
    check(&[Check::Field("user", USER)], certificate, errors);
    let kind = certificate.text("keyType");
    if !KEY_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&certificate.path_of("keyType"), kind, KEY_TYPES));
    }
    if let Some(seconds) = certificate.number("maxExpirationSeconds") {
        let domain = certificate.text("signerName").split('/').next().unwrap_or_default();
        let ours = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        let most = if ours { DAY } else { 91 * DAY };
        let mut wrong = |detail: String| {
            errors.push(FieldError::invalid(&certificate.path_of("maxExpirationSeconds"), seconds, detail));
        };
        if seconds < HOUR {
            wrong(format!("if provided, maxExpirationSeconds must be >= {HOUR}"));
        }
        if seconds > most {
            wrong(format!("if provided, maxExpirationSeconds must be <= {most}"));
        }
    }
    let mut paths = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = certificate.text(field);
        if path.is_empty() {
            continue;
        }
        paths += 1;
        let faults = local(path).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&certificate.path_of(field), path, fault)));
        taken.take(path, path, errors);
    }
    if paths == 0 {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(&certificate.path(), detail));
    }
}
