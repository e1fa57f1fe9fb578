//! Device classes.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME},
    tree::{field, list, text},
};

/// The behaviour of device classes.
pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    fn validate(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        const MOST: usize = 32;
        let path = FieldPath::new("spec").child("selectors");
        let selectors = list(field(new, &["spec", "selectors"]));
        let mut errors = Vec::new();
        if selectors.len() > MOST {
            errors.push(FieldError::too_many(&path, selectors.len(), MOST));
        }
        for (index, selector) in selectors.iter().enumerate() {
            let path = path.index(index).child("cel");
            if selector["cel"].is_null() {
                errors.push(FieldError::required(&path, ""));
            } else if text(&selector["cel"]["expression"]).is_empty() {
                errors.push(FieldError::required(&path.child("expression"), ""));
            }
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

/// The columns.
pub static COLUMNS: &[Column] = &[NAME, AGE];
