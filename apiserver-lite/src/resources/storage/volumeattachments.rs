//! Volume attachments.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, as_name, boolean, show},
    core::{
        persistentvolumes::{access_modes, recycled_root},
        volume_sources::{self, csi_driver},
    },
    declared,
    rules::{Check, Errors, Place, Rule, check},
    separate_wholly,
    tree::{count, entries, object_mut, section, text},
};

/// The behaviour of volume attachments.
pub struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    fn default(&self, object: &mut Object) {
        let source = object_mut(object.section_mut("spec"), "source");
        if let Some(volume) = source.and_then(|source| object_mut(source, "inlineVolumeSpec")) {
            volume_sources::default(volume);
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        let spec = section(new, "spec");
        let mut errors = Vec::new();
        if old.is_some() {
            errors.extend(csi_driver(text(&spec["attacher"]), &path.child("attacher")));
        }
        source(new, &mut errors);
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
        match old {
            None => errors.extend(attacher(text(&spec["attacher"]), &path.child("attacher"))),
            Some(old) if section(old, "spec") != spec => errors.push(declared::immutable(&path)),
            Some(_) => {}
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

// What is declared of the name of a driver.
fn attacher(name: &str, path: &FieldPath) -> Errors {
    const MAX: usize = 63;
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let faults = format::dns1123_subdomain_caseless(name).into_iter();
    let mut errors: Errors = faults.map(|fault| FieldError::invalid(path, name, fault)).collect();
    if name.chars().count() > MAX {
        errors.push(FieldError::too_long_characters(path, MAX));
    }
    errors
}

fn source(attachment: &Object, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let root = Place::object(attachment, None);
    let Some(spec) = root.field("spec") else { return };
    let empty = Value::Null;
    let source = spec.field("source").unwrap_or_else(|| spec.here(&empty));
    let path = spec.path_of("source");
    match (source.field("inlineVolumeSpec"), source.get("persistentVolumeName")) {
        (None, None) => errors.push(FieldError::required(&path, ONE)),
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(&path, ONE)),
        (None, Some(name)) if text(name).is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&path.child("persistentVolumeName"), detail));
        }
        (None, Some(_)) => {}
        (Some(volume), None) => check(INLINE, &volume, errors),
    }
}

const NOT_INLINE: &str = "may not be specified in the context of inline volumes";

// A volume that no object stands for: a CSI driver's, with nothing that is of the object's life.
static INLINE: &[Check] = &[
    Check::Field("claimRef", &[Rule::Unset(NOT_INLINE)]),
    Check::With(|volume, errors| {
        if count(volume.get("capacity").unwrap_or(&Value::Null)) > 0 {
            errors.push(FieldError::forbidden(&volume.path_of("capacity"), NOT_INLINE));
        }
    }),
    Check::Field("csi", &[Rule::Required("has to be specified in the context of inline volumes")]),
    Check::Field("accessModes", &[Rule::Required("")]),
    Check::With(access_modes),
    Check::With(|volume, errors| {
        if !["", "Retain"].contains(&volume.text("persistentVolumeReclaimPolicy")) {
            let detail = "may only be Retain in the context of inline volumes";
            errors.push(FieldError::forbidden(&volume.path_of("persistentVolumeReclaimPolicy"), detail));
        }
    }),
    Check::Field("nodeAffinity", &[Rule::Unset(NOT_INLINE)]),
    Check::With(|volume, errors| volume_sources::check(volume, false, errors)),
    Check::With(recycled_root),
    Check::Field("storageClassName", &[Rule::Unset(NOT_INLINE)]),
    Check::With(|volume, errors| {
        if volume.get("volumeMode").is_some_and(|mode| mode != "Filesystem") {
            let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(FieldError::forbidden(&volume.path_of("volumeMode"), detail));
        }
    }),
];

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
