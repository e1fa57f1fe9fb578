//! Runtime classes.

use std::collections::HashSet;

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    core::pods::{internal::Internal, resources, scheduling::TOLERATION},
    declared, meta,
    rules::{self, Check, Errors, Place, Rule},
};

/// The behaviour of runtime classes.
pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(CLASS, new, None);
        declared::supersede(&mut errors, handler(new, old));
        errors
    }

    fn qualifies_finalizers(&self) -> bool {
        false
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

static CLASS: &[Check] = &[
    Check::Field("handler", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
    Check::Within(
        "overhead",
        // Checked as a container's limits are.
        &[Check::With(|overhead, errors| {
            resources::limits(overhead.get("podFixed"), &overhead.path(), errors);
        })],
    ),
    Check::Within(
        "scheduling",
        &[
            Check::With(|scheduling, errors| {
                if let Some(labels) = scheduling.field("nodeSelector") {
                    meta::validate_labels(&labels, errors);
                }
            }),
            Check::Each("tolerations", TOLERATION),
            Check::With(tolerated_once),
        ],
    ),
];

fn tolerated_once(scheduling: &Place<'_>, errors: &mut Errors) {
    let Some(tolerations) = scheduling.field("tolerations") else { return };
    let mut seen = HashSet::new();
    for it in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| it.text(field));
        if !seen.insert(key) {
            let shown = Internal::read().compact("Toleration", it.value());
            errors.push(FieldError::duplicate(&it.path(), it.value().clone()).showing(shown));
        }
    }
}

// What is declared of the handler.
fn handler(new: &Object, old: Option<&Object>) -> Errors {
    let path = FieldPath::new("handler");
    let handler = new.get_str(&["handler"]);
    let mut errors = Errors::new();
    match old.map(|old| old.get_str(&["handler"])) {
        Some(before) if before == handler => return errors,
        Some(_) => errors.push(declared::immutable(&path)),
        None => {}
    }
    if handler.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if errors.is_empty() {
        let faults = format::dns1123_label(handler).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&path, handler, fault)));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] =
    &[NAME, Column::new("Handler", "string", "", |it, _| show(it, &["handler"])), AGE];
