//! Device classes.

use coracle_api::{FieldError, FieldPath, Object};

use super::{
    parts::{configuration, selectors},
    types,
};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME},
    declared,
    rules::Place,
    tree::{field, list},
};

/// The behaviour of device classes.
pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    // What a name must be is declared.
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        const MOST: usize = 32;
        let path = FieldPath::new("spec");
        // What stays as it was is not looked at again.
        let stored =
            |name: &str| old.is_some_and(|old| field(old, &["spec", name]) == field(new, &["spec", name]));
        let chosen = field(new, &["spec", "selectors"]);
        let mut errors = selectors(chosen, &path.child("selectors"), stored("selectors"));
        let configs = list(field(new, &["spec", "config"]));
        for (index, it) in configs.iter().enumerate().filter(|_| configs.len() <= MOST) {
            errors.extend(configuration(it, &path.child("config").index(index), stored("config")));
        }
        declared::check(types::CLASS, &Place::object(new, old), &mut errors);
        errors
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[NAME, AGE];
