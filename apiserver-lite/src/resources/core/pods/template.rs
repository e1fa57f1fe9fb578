//! Pod templates: what workloads make pods from.

use coracle_api::FieldError;
use serde_json::Value;

use super::{annotations, spec};
use crate::resources::{
    meta::{validate_annotations, validate_labels},
    rules::{Errors, Place},
};

/// What a `PodTemplateSpec` must be.
pub fn validate(template: &Place<'_>, errors: &mut Errors) {
    // Upstream leaves `metadata` out of these paths.
    let empty = Value::Object(serde_json::Map::new());
    let metadata = template.here(template.get("metadata").unwrap_or(&empty));
    if let Some(labels) = metadata.field("labels") {
        validate_labels(&labels, errors);
    }
    if let Some(annotations) = metadata.field("annotations") {
        validate_annotations(&annotations, errors);
    }
    // The schema always writes a spec.
    let Some(spec) = template.field("spec") else { return };
    let annotated = annotations::of(template.get("metadata"));
    annotations::validate(annotated, &spec, &template.path_of("annotations"), errors);
    spec::validate(&spec, "", errors);
    annotations::agree(annotated, &spec, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&spec.path_of("ephemeralContainers"), detail));
    }
}
