//! Volume attributes classes.

use coracle_api::{FieldError, FieldPath, Object, format};

use super::storageclasses::{parameters, provisioner};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    tree::section,
};

/// The behaviour of volume attributes classes.
pub struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for name in ["driverName", "parameters"] {
            if old.is_some_and(|old| section(old, name) != section(new, name)) {
                let detail = format!("updates to {name} are forbidden.");
                errors.push(FieldError::forbidden(&FieldPath::new(name), detail));
            }
        }
        errors.extend(provisioner(new, "driverName"));
        errors.extend(parameters(new, false));
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "DriverName",
        "string",
        "driverName is the name of the CSI driver This field is immutable.",
        |it, _| show(it, &["driverName"]),
    ),
    AGE,
];
