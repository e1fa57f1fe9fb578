//! Runtime classes.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    core::quantities,
    meta,
    rules::{self, Check, IMMUTABLE, Place, Rule},
    tree::{entries, field, text},
};

/// The behaviour of runtime classes.
pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(CLASS, new, None);
        errors.extend(overhead(new));
        if let Some(scheduling) = Place::object(new, None).field("scheduling")
            && let Some(labels) = scheduling.field("nodeSelector")
        {
            meta::validate_labels(&labels, &mut errors);
        }
        let handler = new.get_str(&["handler"]);
        if old.is_some_and(|old| old.get_str(&["handler"]) != handler) {
            errors.push(FieldError::invalid(&FieldPath::new("handler"), handler, IMMUTABLE));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

static CLASS: &[Check] =
    &[Check::Field("handler", &[Rule::Required(""), Rule::Format(format::dns1123_label)])];

// Checked as a container's limits are.
fn overhead(class: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("overhead").child("limits");
    let mut errors = Vec::new();
    for (name, quantity) in entries(field(class, &["overhead", "podFixed"])) {
        let path = path.key(name);
        errors.extend(quantities::container_name(name, &path));
        errors.extend(quantities::amount(name, text(quantity), &path));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] =
    &[NAME, Column::new("Handler", "string", "", |it, _| show(it, &["handler"])), AGE];
