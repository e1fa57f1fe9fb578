//! CSI nodes: which drivers a node has.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, size},
    core::{pods::internal::Internal, volume_sources::csi_driver},
    rules::{IMMUTABLE, NOT_NEGATIVE},
    separate_wholly,
    tree::{count, field, list, object_mut, text, texts},
};

/// The behaviour of CSI nodes.
pub struct CsiNodes;

impl Strategy for CsiNodes {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
        // Behind a feature gate that is off.
        const HEALTH: &[&str] = &["status", "storageHealth"];
        let had = old.is_some_and(|old| count(field(old, HEALTH)) > 0);
        if !had && let Some(status) = object_mut(&mut new.0, "status") {
            status.remove("storageHealth");
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return Vec::new();
        }
        let path = FieldPath::new("spec").child("drivers");
        let drivers = list(field(new, &["spec", "drivers"]));
        let mut errors = Vec::new();
        for (index, it) in drivers.iter().enumerate() {
            errors.extend(driver(it, &drivers[..index], &path.index(index)));
        }
        let before = old.map(|old| list(field(old, &["spec", "drivers"]))).unwrap_or_default();
        for old in before {
            for new in drivers.iter().filter(|new| new["name"] == old["name"]) {
                // What a node can take may change.
                if ["nodeID", "topologyKeys"].iter().any(|part| old[*part] != new[*part]) {
                    let mut shown = new.clone();
                    shown["allocatable"] = Value::Null;
                    let shown = Internal::read().compact("CSINodeDriver", &shown);
                    errors.push(FieldError::invalid(&path, new.clone(), IMMUTABLE).showing(shown));
                }
            }
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

fn driver(driver: &Value, before: &[Value], path: &FieldPath) -> Vec<FieldError> {
    const MAX_ID: usize = 256;
    let (name, id) = (text(&driver["name"]), text(&driver["nodeID"]));
    let mut errors = csi_driver(name, &path.child("name"));
    if id.is_empty() {
        errors.push(FieldError::required(&path.child("nodeID"), ""));
    }
    if id.len() > MAX_ID {
        let detail = format!("must be {MAX_ID} characters or less");
        errors.push(FieldError::invalid(&path.child("nodeID"), id, detail));
    }
    match driver["allocatable"]["count"].as_i64() {
        Some(count) if count < 0 => {
            errors.push(FieldError::invalid(&path.child("allocatable").child("count"), count, NOT_NEGATIVE));
        }
        _ => {}
    }
    if before.iter().any(|it| text(&it["name"]) == name) {
        errors.push(FieldError::duplicate(&path.child("name"), name));
    }
    let keys = texts(&driver["topologyKeys"]);
    for (index, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::duplicate(path, *key));
        }
        let faults = format::qualified_name(key);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(path, *key, fault)));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Drivers",
        "integer",
        "Drivers indicates the number of CSI drivers registered on the node",
        |it, _| size(it, &["spec", "drivers"]),
    ),
    AGE,
];
