//! CSI storage capacities.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{CREATED_AT, NAME},
    core::quantities,
    label_selectors,
    rules::{self, Check, IMMUTABLE},
    tree::section,
};

/// The behaviour of CSI storage capacities.
pub struct CsiStorageCapacities;

impl Strategy for CsiStorageCapacities {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors =
            rules::validate(&[Check::Within("nodeTopology", label_selectors::SELECTOR)], new, None);
        let class = new.get_str(&["storageClassName"]);
        let path = FieldPath::new("storageClassName");
        let faults = format::dns1123_subdomain(class);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, class, fault)));
        errors.extend(quantities::not_negative(new.get_str(&["capacity"]), &FieldPath::new("capacity")));
        if let Some(old) = old {
            for name in ["nodeTopology", "storageClassName"] {
                let now = section(new, name);
                if now != section(old, name) {
                    let error = FieldError::invalid(&FieldPath::new(name), now.clone(), IMMUTABLE);
                    errors.push(if now.is_object() {
                        error.showing(label_selectors::shown(Some(now)))
                    } else {
                        error
                    });
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
}

/// The columns.
pub static COLUMNS: &[Column] = &[NAME, CREATED_AT];
