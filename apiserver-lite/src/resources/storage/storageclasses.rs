//! Storage classes.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, boolean, show, show_or},
    declared,
    rules::{self, Check, Errors, Place, Rule},
    tree::{count, entries, list, or_unset, section, text},
};

/// The behaviour of storage classes.
pub struct StorageClasses;

impl Strategy for StorageClasses {
    fn default(&self, object: &mut Object) {
        or_unset(&mut object.0, "reclaimPolicy", "Delete");
        or_unset(&mut object.0, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = provisioner(new, "provisioner");
        errors.extend(parameters(new, true));
        errors.extend(rules::validate(CLASS, new, None));
        declared::supersede(&mut errors, declared_of(new, old));
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn declared_of(new: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    for name in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
        let (path, now) = (FieldPath::new(name), section(new, name));
        let before = old.map(|old| section(old, name));
        if before == Some(now) {
            continue;
        }
        if name == "provisioner" && text(now).is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        let none = |it: &Value| name == "parameters" && count(it) == 0;
        if before.is_some_and(|before| !none(before) || !none(now)) {
            errors.push(declared::immutable(&path));
        }
    }
    errors
}

/// The rules of the field that names who makes volumes.
pub fn provisioner(object: &Object, name: &str) -> Vec<FieldError> {
    let (value, path) = (object.get_str(&[name]), FieldPath::new(name));
    if value.is_empty() {
        return vec![FieldError::required(&path, "")];
    }
    let lower = value.to_lowercase();
    let faults = format::qualified_name(&lower);
    faults.into_iter().map(|fault| FieldError::invalid(&path, lower.as_str(), fault)).collect()
}

/// The rules of parameters.
pub fn parameters(object: &Object, may_be_empty: bool) -> Vec<FieldError> {
    const MOST: usize = 512;
    const MOST_BYTES: usize = 256 * 1024;
    let (parameters, path) = (section(object, "parameters"), FieldPath::new("parameters"));
    if count(parameters) > MOST {
        return vec![FieldError::too_long(&path, MOST)];
    }
    let mut errors = Vec::new();
    if parameters.get("").is_some() {
        errors.push(FieldError::invalid(&path, "", "field can not be empty."));
    }
    if entries(parameters).map(|(key, value)| key.len() + text(value).len()).sum::<usize>() > MOST_BYTES {
        errors.push(FieldError::too_long(&path, MOST_BYTES));
    }
    if !may_be_empty && count(parameters) == 0 {
        errors.push(FieldError::required(&path, "must contain at least one key/value pair"));
    }
    errors
}

static CLASS: &[Check] = &[
    Check::Field("reclaimPolicy", &[Rule::OneOf(&["Delete", "Retain"])]),
    Check::Pointer(
        "volumeBindingMode",
        &[Rule::Required(""), Rule::OneOf(&["Immediate", "WaitForFirstConsumer"])],
    ),
    Check::With(topologies),
];

fn topologies(class: &Place<'_>, errors: &mut Errors) {
    let terms = class.list("allowedTopologies");
    for (index, term) in terms.iter().enumerate() {
        let path = class.path_of("allowedTopologies").index(index);
        let expressions = path.child("matchLabelExpressions");
        let mut keys: Vec<&str> = Vec::new();
        for (index, expression) in list(&term["matchLabelExpressions"]).iter().enumerate() {
            let path = expressions.index(index);
            let (key, values) = (text(&expression["key"]), list(&expression["values"]));
            if values.is_empty() {
                errors.push(FieldError::required(&path.child("values"), ""));
            }
            for (index, value) in
                values.iter().enumerate().filter(|(index, it)| values[..*index].contains(it))
            {
                errors.push(FieldError::duplicate(&path.child("values").index(index), value.clone()));
            }
            let faults = format::qualified_name(key);
            errors
                .extend(faults.into_iter().map(|fault| FieldError::invalid(&path.child("key"), key, fault)));
            if keys.contains(&key) {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
            keys.push(key);
        }
        if terms[..index].contains(term) {
            errors.push(FieldError::duplicate(&expressions, ""));
        }
    }
}

fn expands(class: &Object) -> Value {
    boolean(class, &["allowVolumeExpansion"])
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Provisioner", "string", "provisioner indicates the type of the provisioner.", |it, _| {
        show(it, &["provisioner"])
    }),
    Column::new(
        "ReclaimPolicy",
        "string",
        "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
        |it, _| show_or(it, &["reclaimPolicy"], "Delete"),
    ),
    Column::new(
        "VolumeBindingMode",
        "string",
        "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
        |it, _| show_or(it, &["volumeBindingMode"], "Immediate"),
    ),
    Column::new(
        "AllowVolumeExpansion",
        "string",
        "allowVolumeExpansion shows whether the storage class allow volume expand.",
        |it, _| expands(it),
    ),
    AGE,
];
