//! The claim that an ephemeral volume makes, and the spec of claims.

use coracle_api::{FieldError, format};

use super::resources;
use crate::resources::{
    label_selectors::SELECTOR,
    meta,
    rules::{Check, Errors, POSITIVE, Place, Rule},
};

/// A `PersistentVolumeClaimTemplate`.
pub static TEMPLATE: &[Check] =
    &[Check::Within("metadata", &[Check::With(metadata)]), Check::Within("spec", SPEC)];

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The spec of a claim.
pub static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        if spec.list("accessModes").is_empty() {
            let detail = "at least 1 access mode is required";
            errors.push(FieldError::required(&spec.path_of("accessModes"), detail));
        }
    }),
    Check::Within("selector", SELECTOR),
    Check::With(access_modes),
    Check::With(storage),
    Check::Field("storageClassName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Pointer("volumeMode", &[Rule::OneOf(&["Block", "Filesystem"])]),
    Check::Within("dataSource", SOURCE),
    Check::Within("dataSourceRef", SOURCE),
    Check::Within("dataSourceRef", &[Check::Field("namespace", &[Rule::Format(format::dns1123_label)])]),
    Check::With(one_source),
    Check::Field("volumeAttributesClassName", &[Rule::Format(format::dns1123_subdomain)]),
];

static SOURCE: &[Check] = &[
    Check::Field("name", &[Rule::Required("")]),
    Check::Field("kind", &[Rule::Required("")]),
    Check::With(|source, errors| {
        let kind = source.text("kind");
        if source.text("apiGroup").is_empty() && kind != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(&source.path(), kind, detail));
        }
    }),
    Check::Field("apiGroup", &[Rule::Format(format::dns1123_subdomain)]),
];

// Only labels and annotations are taken over.
fn metadata(metadata: &Place<'_>, errors: &mut Errors) {
    if let Some(annotations) = metadata.field("annotations") {
        meta::validate_annotations(&annotations, errors);
    }
    if let Some(labels) = metadata.field("labels") {
        meta::validate_labels(&labels, errors);
    }
    let others = metadata.value().as_object().into_iter().flatten();
    for (field, value) in others.filter(|(field, _)| !matches!(field.as_str(), "annotations" | "labels")) {
        if !value.is_null() {
            errors.push(FieldError::forbidden(&metadata.path_of(field), "cannot be set"));
        }
    }
}

fn access_modes(spec: &Place<'_>, errors: &mut Errors) {
    let path = spec.path_of("accessModes");
    let modes: Vec<&str> = spec.texts("accessModes").collect();
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        errors.push(FieldError::not_supported(&path, *mode, MODES));
    }
    let single = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.iter().any(single) && modes.iter().any(|mode| MODES.contains(mode) && !single(mode)) {
        errors.push(FieldError::forbidden(&path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn storage(spec: &Place<'_>, errors: &mut Errors) {
    let path = spec.path_of("resources").key("storage");
    let request = spec.get("resources").and_then(|it| it.get("requests")?.get("storage"));
    match request.map(resources::quantity) {
        None => errors.push(FieldError::required(&path, "")),
        Some(request) if request.sign() <= 0 => {
            errors.push(FieldError::invalid(&path, request.to_string(), POSITIVE));
        }
        Some(_) => {}
    }
}

fn one_source(spec: &Place<'_>, errors: &mut Errors) {
    let (Some(source), Some(reference)) = (spec.get("dataSource"), spec.field("dataSourceRef")) else {
        return;
    };
    let same = ["apiGroup", "kind", "name"].iter().all(|field| source.get(*field) == reference.get(field));
    let detail = if !reference.text("namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if same {
        return;
    } else {
        "must match dataSourceRef"
    };
    // Upstream shows the path as the value, and a path has no public fields.
    errors.push(FieldError::invalid(&spec.path(), serde_json::json!({}), detail));
}
