//! Persistent volumes.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show, show_or, wide},
    restore,
    rules::{self, Check, IMMUTABLE, Place, Rule},
    tree::{count, entries, field, list, or_default, or_unset, section, set, text, time},
};

use super::{
    node_selectors,
    pods::{diff, internal::Internal},
    quantities, volume_sources,
};

/// The ways in which a volume may be mounted.
pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// What a volume may be inside of a pod.
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
/// Where the class of storage was before it had a field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The behaviour of persistent volumes.
pub struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    fn default(&self, object: &mut Object) {
        or_default(object.section_mut("status"), "phase", "Pending");
        let spec = object.section_mut("spec");
        or_default(spec, "persistentVolumeReclaimPolicy", "Retain");
        or_unset(spec, "volumeMode", "Filesystem");
        volume_sources::default(spec);
        quantities::to_milli(spec, "capacity");
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        let now = time(write.now);
        match (write.part, old) {
            (Part::Status, Some(old)) => {
                restore(new, old, "spec");
                let (before, after) = (section(old, "status").clone(), section(new, "status").clone());
                let stamp = &after["lastPhaseTransitionTime"];
                let same = stamp.is_null() || *stamp == before["lastPhaseTransitionTime"];
                let status = new.section_mut("status");
                if before["phase"] == after["phase"] && stamp.is_null() {
                    match &before["lastPhaseTransitionTime"] {
                        Value::Null => status.remove("lastPhaseTransitionTime"),
                        time => status.insert("lastPhaseTransitionTime".to_owned(), time.clone()),
                    };
                } else if before["phase"] != after["phase"] && same {
                    status.insert("lastPhaseTransitionTime".to_owned(), now);
                }
            }
            (_, Some(old)) => restore(new, old, "status"),
            (_, None) => {
                let status = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
                new.0.insert("status".to_owned(), status);
            }
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return needs_version(new);
        }
        let mut errors = rules::validate(VOLUME, new, None);
        errors.extend(mount_options(new));
        if let Some(old) = old {
            errors.extend(rules::validate(VOLUME, new, None));
            errors.extend(update(new, old));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// Requires the version of an object whose status is written.
pub fn needs_version(new: &Object) -> Vec<FieldError> {
    if new.resource_version().is_empty() {
        vec![FieldError::required(&FieldPath::new("resourceVersion"), "")]
    } else {
        Vec::new()
    }
}

static VOLUME: &[Check] = &[Check::Within("spec", SPEC)];

static SPEC: &[Check] = &[
    Check::Field("accessModes", &[Rule::Required("")]),
    Check::With(access_modes),
    Check::With(capacity),
    Check::Field("persistentVolumeReclaimPolicy", &[Rule::OneOf(&["Delete", "Recycle", "Retain"])]),
    Check::Within(
        "nodeAffinity",
        &[
            Check::Field("required", &[Rule::Required("must specify required node constraints")]),
            Check::Within("required", node_selectors::SELECTOR),
        ],
    ),
    Check::With(|spec, errors| volume_sources::check(spec, spec.has("nodeAffinity"), errors)),
    Check::With(recycled_root),
    Check::Field("storageClassName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Pointer("volumeMode", &[Rule::OneOf(VOLUME_MODES)]),
    Check::With(attributes_class),
];

/// Requires access modes that exist and go together.
pub fn access_modes(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let path = spec.path_of("accessModes");
    let (mut alone, mut shared) = (false, false);
    for mode in spec.texts("accessModes") {
        let supported = ACCESS_MODES.contains(&mode);
        if !supported {
            errors.push(FieldError::not_supported(&path, mode, ACCESS_MODES));
        }
        alone |= mode == "ReadWriteOncePod";
        shared |= supported && mode != "ReadWriteOncePod";
    }
    if alone && shared {
        errors.push(FieldError::forbidden(&path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn capacity(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let path = spec.path_of("capacity");
    let capacity = spec.get("capacity").unwrap_or(&Value::Null);
    if count(capacity) == 0 {
        errors.push(FieldError::required(&path, ""));
    }
    if capacity.get("storage").is_none() || count(capacity) > 1 {
        errors.push(FieldError::not_supported(&path, capacity.clone(), &["storage"]));
    }
    for (name, quantity) in entries(capacity) {
        let path = path.key(name);
        errors.extend(quantities::basic(text(quantity), &path));
        errors.extend(quantities::positive(text(quantity), &path));
    }
}

/// Refuses to empty the root of a node.
pub fn recycled_root(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(host) = spec.field("hostPath") else { return };
    let root =
        !host.text("path").is_empty() && host.text("path").split('/').all(|it| ["", ".", ".."].contains(&it));
    if root && host.text("path").starts_with('/') && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let path = spec.path_of("persistentVolumeReclaimPolicy");
        errors.push(FieldError::forbidden(&path, "may not be 'recycle' for a hostPath mount of '/'"));
    }
}

fn attributes_class(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(class) = spec.get("volumeAttributesClassName").map(text) else { return };
    let path = spec.path_of("volumeAttributesClassName");
    if class.is_empty() {
        errors.push(FieldError::required(&path, "an empty string is disallowed"));
    }
    if !class.is_empty() {
        for fault in format::dns1123_subdomain(class) {
            errors.push(FieldError::invalid(&path, class, fault));
        }
    }
    if !spec.has("csi") {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(&spec.path_of("csi"), detail));
    }
}

fn mount_options(volume: &Object) -> Option<FieldError> {
    const OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
    const TAKING: &[&str] = &[
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    let spec = section(volume, "spec");
    if TAKING.iter().any(|source| set(&spec[*source])) || volume.annotation(OPTIONS).is_none() {
        return None;
    }
    let path = FieldPath::new("metadata").child("annotations").child(OPTIONS);
    Some(FieldError::forbidden(&path, "may not specify mount options for this volume type"))
}

fn update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (before, mut after) = (volume_sources::of(old), volume_sources::of(new));
    // The secret for growing the volume may be named once.
    if set(&before["csi"])
        && before["csi"]["controllerExpandSecretRef"].is_null()
        && let Some(Value::Object(csi)) = after.get_mut("csi")
    {
        csi.remove("controllerExpandSecretRef");
    }
    if before != after {
        let detail = format!(
            "spec.persistentvolumesource is immutable after creation\n{}",
            diff::of("PersistentVolumeSource", &before, &after)
        );
        errors.push(FieldError::forbidden(&FieldPath::new("spec").child("persistentvolumesource"), detail));
    }
    let mode = field(new, &["spec", "volumeMode"]);
    if mode != field(old, &["spec", "volumeMode"]) {
        errors.push(FieldError::invalid(&FieldPath::new("volumeMode"), mode.clone(), IMMUTABLE));
    }
    let (before, after) = (field(old, &["spec", "nodeAffinity"]), field(new, &["spec", "nodeAffinity"]));
    if set(before) && !node_selectors::same_but_for_renamed_labels(before, after) {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        let error = FieldError::invalid(&FieldPath::new("nodeAffinity"), after.clone(), detail);
        errors.push(if set(after) {
            error.showing(Internal::read().compact("VolumeNodeAffinity", after))
        } else {
            error
        });
    }
    let class = |volume| field(volume, &["spec", "volumeAttributesClassName"]);
    if set(class(old)) && class(new).is_null() {
        let path = FieldPath::new("spec").child("volumeAttributesClassName");
        errors.push(FieldError::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Access modes as tables show them, always in the same order.
pub fn modes_shown(modes: &Value) -> Value {
    const SHORT: &[(&str, &str)] = &[
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list(modes).iter().any(|it| it == mode);
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",").into()
}

/// The phase as tables show it.
pub fn phase(object: &Object) -> Value {
    if object.deleting() { "Terminating".into() } else { show(object, &["status", "phase"]) }
}

/// The class of storage.
pub fn class(object: &Object) -> Value {
    match object.annotation(CLASS_ANNOTATION) {
        Some(class) => class.into(),
        None => show(object, &["spec", "storageClassName"]),
    }
}

fn claim(volume: &Object) -> Value {
    let claim = field(volume, &["spec", "claimRef"]);
    if claim.is_null() {
        return "".into();
    }
    format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])).into()
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Capacity",
        "string",
        "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity",
        |it, _| show_or(it, &["spec", "capacity", "storage"], "0"),
    ),
    Column::new(
        "Access Modes",
        "string",
        "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes",
        |it, _| modes_shown(field(it, &["spec", "accessModes"])),
    ),
    Column::new(
        "Reclaim Policy",
        "string",
        "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming",
        |it, _| show(it, &["spec", "persistentVolumeReclaimPolicy"]),
    ),
    Column::new(
        "Status",
        "string",
        "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase",
        |it, _| phase(it),
    ),
    Column::new(
        "Claim",
        "string",
        "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding",
        |it, _| claim(it),
    ),
    Column::new("StorageClass", "string", "StorageClass of the pv", |it, _| class(it)),
    Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv", |it, _| {
        show_or(it, &["spec", "volumeAttributesClassName"], "<unset>")
    }),
    Column::new(
        "Reason",
        "string",
        "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.",
        |it, _| show(it, &["status", "reason"]),
    ),
    AGE,
    wide(Column::new(
        "VolumeMode",
        "string",
        "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.",
        |it, _| show_or(it, &["spec", "volumeMode"], "<unset>"),
    )),
];
