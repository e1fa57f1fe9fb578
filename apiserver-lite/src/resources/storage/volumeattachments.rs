//! Volume attachments.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, as_name, boolean, show},
    core::volume_sources::csi_driver,
    rules::IMMUTABLE,
    separate_wholly,
    tree::{entries, section, text},
};

/// The behaviour of volume attachments.
pub struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        let spec = section(new, "spec");
        let mut errors = csi_driver(text(&spec["attacher"]), &path.child("attacher"));
        errors.extend(source(&spec["source"], &path.child("source")));
        let node = text(&spec["nodeName"]);
        let faults = format::dns1123_subdomain(node);
        errors.extend(
            faults.into_iter().map(|fault| FieldError::invalid(&path.child("nodeName"), node, fault)),
        );
        errors.extend(status(section(new, "status")));
        if let Some(name) = spec["source"]["persistentVolumeName"].as_str() {
            let path = FieldPath::new("spec.source.persistentVolumeName");
            let faults = format::dns1123_subdomain(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        }
        if old.is_some_and(|old| section(old, "spec") != spec) {
            errors.push(FieldError::invalid(&path, spec.clone(), IMMUTABLE));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn source(source: &Value, path: &FieldPath) -> Option<FieldError> {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source["inlineVolumeSpec"], &source["persistentVolumeName"]) {
        (Value::Null, Value::Null) => Some(FieldError::required(path, ONE)),
        (Value::Null, name) if text(name).is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            Some(FieldError::required(&path.child("persistentVolumeName"), detail))
        }
        (Value::Null, _) | (_, Value::Null) => None,
        _ => Some(FieldError::forbidden(path, ONE)),
    }
}

fn status(status: &Value) -> Vec<FieldError> {
    const MAX_METADATA: usize = 256 * 1024;
    const MAX_MESSAGE: usize = 1024;
    let path = FieldPath::new("status");
    let mut errors = Vec::new();
    let bytes: usize =
        entries(&status["attachmentMetadata"]).map(|(key, value)| key.len() + text(value).len()).sum();
    if bytes > MAX_METADATA {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), MAX_METADATA));
    }
    for part in ["attachError", "detachError"] {
        let (error, path) = (&status[part], path.child(part));
        if text(&error["message"]).len() > MAX_MESSAGE {
            errors.push(FieldError::too_long(&path.child("message"), MAX_MESSAGE));
        }
        match error["errorCode"].as_i64() {
            Some(code) if code < 0 => {
                let detail = format::inclusive_range(0, i64::from(i32::MAX));
                errors.push(FieldError::invalid(&path.child("errorCode"), code, detail));
            }
            _ => {}
        }
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    // Upstream gives this column, too, the format of a name.
    as_name(
        "Attacher",
        "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().",
        |it, _| show(it, &["spec", "attacher"]),
    ),
    Column::new(
        "PV",
        "string",
        "persistentVolumeName represents the name of the persistent volume to attach.",
        |it, _| show(it, &["spec", "source", "persistentVolumeName"]),
    ),
    Column::new(
        "Node",
        "string",
        "nodeName represents the node that the volume should be attached to.",
        |it, _| show(it, &["spec", "nodeName"]),
    ),
    Column::new(
        "Attached",
        "boolean",
        "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.",
        |it, _| boolean(it, &["status", "attached"]),
    ),
    AGE,
];
