//! Persistent volume claims.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show, show_or, wide},
    label_selectors,
    rules::{self, Check, IMMUTABLE, Place, Rule},
    separate,
    tree::{entries, field, list, or_default, or_unset, section, set, text},
};

use super::{
    persistentvolumes::{
        CLASS_ANNOTATION, VOLUME_MODES, access_modes, class, modes_shown, needs_version, phase,
    },
    pods::diff,
    quantities,
};

/// The behaviour of persistent volume claims.
pub struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    fn default(&self, object: &mut Object) {
        let status = object.section_mut("status");
        or_default(status, "phase", "Pending");
        quantities::to_milli(status, "capacity");
        quantities::to_milli(status, "allocatedResources");
        default_spec(object.section_mut("spec"));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
        if write.part != Part::Whole {
            return;
        }
        if old.is_none() {
            // Upstream's empty status gets its phase when it is read back.
            or_default(new.section_mut("status"), "phase", "Pending");
        }
        let spec = new.section_mut("spec");
        let before = old.map(|old| section(old, "spec"));
        let named = |part: &str| before.is_some_and(|spec| set(&spec[part]));
        let across = spec.get("dataSourceRef").is_some_and(|it| !text(&it["namespace"]).is_empty());
        if across && !named("dataSourceRef") {
            spec.remove("dataSourceRef");
        }
        if !named("dataSource") && !named("dataSourceRef") && !spec.contains_key("dataSourceRef") {
            keep_known_source(spec);
        }
        pair_sources(spec);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return status(new);
        }
        let mut errors = rules::validate(&[Check::Within("spec", SPEC)], new, None);
        if let Some(old) = old {
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

/// The defaults of a claim's spec.
pub fn default_spec(spec: &mut Map<String, Value>) {
    or_unset(spec, "volumeMode", "Filesystem");
    if let Some(Value::Object(resources)) = spec.get_mut("resources") {
        quantities::to_milli(resources, "limits");
        quantities::to_milli(resources, "requests");
    }
}

// Before there was `dataSourceRef`, other sources than these were dropped.
fn keep_known_source(spec: &mut Map<String, Value>) {
    let Some(source) = spec.get("dataSource") else { return };
    let known = match text(&source["kind"]) {
        "PersistentVolumeClaim" => text(&source["apiGroup"]).is_empty(),
        "VolumeSnapshot" => text(&source["apiGroup"]) == "snapshot.storage.k8s.io",
        _ => false,
    };
    if !known {
        spec.remove("dataSource");
    }
}

// The two ways to name a source say the same.
fn pair_sources(spec: &mut Map<String, Value>) {
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".to_owned(), source);
        }
        (None, Some(Value::Object(mut source)))
            if source.get("namespace").is_none_or(|it| text(it).is_empty()) =>
        {
            source.remove("namespace");
            spec.insert("dataSource".to_owned(), Value::Object(source));
        }
        _ => {}
    }
}

/// The rules of a claim's spec.
pub static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        if spec.list("accessModes").is_empty() {
            let path = spec.path_of("accessModes");
            errors.push(FieldError::required(&path, "at least 1 access mode is required"));
        }
    }),
    Check::Within("selector", label_selectors::SELECTOR),
    Check::With(access_modes),
    Check::With(size),
    Check::Field("storageClassName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Pointer("volumeMode", &[Rule::OneOf(VOLUME_MODES)]),
    Check::Within("dataSource", SOURCE),
    Check::Within("dataSourceRef", SOURCE),
    Check::Within("dataSourceRef", &[Check::Field("namespace", &[Rule::Format(format::dns1123_label)])]),
    Check::With(sources_agree),
    Check::Field("volumeAttributesClassName", &[Rule::Format(format::dns1123_subdomain)]),
];

static SOURCE: &[Check] = &[
    Check::Field("name", &[Rule::Required("")]),
    Check::Field("kind", &[Rule::Required("")]),
    Check::With(|source, errors| {
        if source.text("apiGroup").is_empty() && source.text("kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(&source.path(), source.text("kind"), detail));
        }
    }),
    Check::Field("apiGroup", &[Rule::Format(format::dns1123_subdomain)]),
];

fn size(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let path = spec.path_of("resources").key("storage");
    match spec.get("resources").and_then(|it| it["requests"].get("storage")) {
        None => errors.push(FieldError::required(&path, "")),
        Some(size) => errors.extend(quantities::positive(text(size), &path)),
    }
}

fn sources_agree(spec: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (Some(source), Some(reference)) = (spec.get("dataSource"), spec.get("dataSourceRef")) else { return };
    let detail = if !text(&reference["namespace"]).is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if ["apiGroup", "kind", "name"].iter().any(|part| source[*part] != reference[*part]) {
        "must match dataSourceRef"
    } else {
        return;
    };
    // Upstream shows the path where the value belongs, and of that nothing.
    let shown = spec.path_of("dataSource").to_string();
    errors.push(FieldError::invalid(&spec.path(), shown, detail).showing("{}".to_owned()));
}

fn update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (before, after) = (section(old, "spec"), section(new, "spec"));
    let bound = text(field(new, &["status", "phase"])) == "Bound";
    let (old_class, new_class) = (old.annotation(CLASS_ANNOTATION), new.annotation(CLASS_ANNOTATION));
    let (mut old_spec, mut new_spec) = (before.clone(), after.clone());
    if text(&before["volumeName"]).is_empty() {
        copy(&new_spec, &mut old_spec, "volumeName");
    }
    let moved = before["storageClassName"].is_null() && after["storageClassName"].is_string();
    let class_now = text(&after["storageClassName"]);
    if moved && old_class == Some(class_now) && new_class.is_none_or(|class| class == class_now) {
        copy(&old_spec, &mut new_spec, "storageClassName");
    } else {
        if new_class.unwrap_or_default() != old_class.unwrap_or_default() {
            let path = FieldPath::new("metadata").child("annotations").key(CLASS_ANNOTATION);
            errors.push(FieldError::invalid(&path, new_class.unwrap_or_default(), IMMUTABLE));
        }
        if moved && old_class.is_none_or(|class| class == class_now) {
            copy(&old_spec, &mut new_spec, "storageClassName");
        }
    }
    if bound {
        copy(&old_spec, &mut new_spec, "volumeAttributesClassName");
        let size = match &before["resources"]["requests"]["storage"] {
            Value::Null => "0".into(),
            size => size.clone(),
        };
        if let Some(Value::Object(requests)) = new_spec.pointer_mut("/resources/requests") {
            requests.insert("storage".to_owned(), size);
        }
    }
    let spec = FieldPath::new("spec");
    if old_spec != new_spec {
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
            diff::of("PersistentVolumeClaimSpec", &old_spec, &new_spec)
        );
        errors.push(FieldError::forbidden(&spec, detail));
    }
    errors.extend(shrinks(new, old));
    if after["volumeMode"] != before["volumeMode"] {
        let path = FieldPath::new("volumeMode");
        errors.push(FieldError::invalid(&path, after["volumeMode"].clone(), IMMUTABLE));
    }
    let class = &after["volumeAttributesClassName"];
    let applied = set(field(old, &["status", "currentVolumeAttributesClassName"]));
    if *class != before["volumeAttributesClassName"] && applied && text(class).is_empty() {
        let what = if class.is_null() { "nil" } else { "empty string" };
        let detail =
            format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.push(FieldError::forbidden(&spec.child("volumeAttributesClassName"), detail));
    }
    errors
}

fn copy(from: &Value, to: &mut Value, name: &str) {
    let Value::Object(to) = to else { return };
    match from.get(name) {
        Some(value) => to.insert(name.to_owned(), value.clone()),
        None => to.remove(name),
    };
}

// A request may go down to what the volume has, never below: that lets an
// expansion that failed be taken back.
fn shrinks(new: &Object, old: &Object) -> Option<FieldError> {
    let size = |claim, path: &[&str]| quantities::parse(text(field(claim, path))).unwrap_or_default();
    let request = ["spec", "resources", "requests", "storage"];
    let now = size(new, &request);
    if now >= size(old, &request) || now > size(old, &["status", "capacity", "storage"]) {
        return None;
    }
    let path = FieldPath::new("spec").child("resources").child("requests").child("storage");
    Some(FieldError::forbidden(&path, "field can not be less than status.capacity"))
}

fn status(new: &Object) -> Vec<FieldError> {
    const STATES: &[&str] = &[
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let mut errors = needs_version(new);
    if list(field(new, &["spec", "accessModes"])).is_empty() {
        errors.push(FieldError::required(&FieldPath::new("Spec").child("accessModes"), ""));
    }
    let status = FieldPath::new("status");
    for (name, quantity) in entries(field(new, &["status", "capacity"])) {
        errors.extend(quantities::basic(text(quantity), &status.child("capacity").key(name)));
    }
    let path = status.child("allocatedResourceStatuses");
    for (name, state) in entries(field(new, &["status", "allocatedResourceStatuses"])) {
        errors.extend(resource(name, &path));
        if !STATES.contains(&text(state)) {
            errors.push(FieldError::not_supported(&path, name, STATES));
        }
    }
    let path = status.child("allocatedResources");
    for (name, quantity) in entries(field(new, &["status", "allocatedResources"])) {
        let faults = resource(name, &path);
        if !faults.is_empty() {
            errors.extend(faults);
            continue;
        }
        let faults = quantities::basic(text(quantity), &path.key(name));
        if faults.is_empty() {
            errors.extend(quantities::amount("storage", text(quantity), &path.key(name)));
        }
        errors.extend(faults);
    }
    errors
}

fn resource(name: &str, path: &FieldPath) -> Vec<FieldError> {
    let faults = format::qualified_name(name);
    if faults.is_empty() && quantities::native(name) && name != "storage" {
        return vec![FieldError::not_supported(path, name, &["storage"])];
    }
    faults.into_iter().map(|fault| FieldError::invalid(path, name, fault)).collect()
}

fn when_bound(claim: &Object, shown: Value) -> Value {
    if text(field(claim, &["spec", "volumeName"])).is_empty() { "".into() } else { shown }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Status",
        "string",
        "phase represents the current phase of PersistentVolumeClaim.",
        |it, _| phase(it),
    ),
    Column::new(
        "Volume",
        "string",
        "volumeName is the binding reference to the PersistentVolume backing this claim.",
        |it, _| show(it, &["spec", "volumeName"]),
    ),
    Column::new(
        "Capacity",
        "string",
        "capacity represents the actual resources of the underlying volume.",
        |it, _| when_bound(it, show_or(it, &["status", "capacity", "storage"], "0")),
    ),
    Column::new(
        "Access Modes",
        "string",
        "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1",
        |it, _| when_bound(it, modes_shown(field(it, &["status", "accessModes"]))),
    ),
    Column::new("StorageClass", "string", "StorageClass of the pvc", |it, _| class(it)),
    Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc", |it, _| {
        show_or(it, &["spec", "volumeAttributesClassName"], "<unset>")
    }),
    AGE,
    wide(Column::new(
        "VolumeMode",
        "string",
        "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.",
        |it, _| show_or(it, &["spec", "volumeMode"], "<unset>"),
    )),
];
