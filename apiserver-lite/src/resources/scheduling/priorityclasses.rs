//! Priority classes.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, boolean, integer, show},
    rules::IMMUTABLE,
    tree::{number, section, text, truth},
};

const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The behaviour of priority classes.
pub struct PriorityClasses;

impl Strategy for PriorityClasses {
    fn default(&self, object: &mut Object) {
        object.0.entry("preemptionPolicy").or_insert_with(|| "PreemptLowerPriority".into());
    }

    fn undeletable(&self, name: &str) -> Option<&'static str> {
        let of_system = SYSTEM.iter().any(|(system, _)| *system == name);
        of_system.then_some("this is a system priority class and cannot be deleted")
    }

    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        if old.is_none() {
            new.set_meta("generation", Some(1.into()));
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (value, policy) = (section(new, "value"), section(new, "preemptionPolicy"));
        let path = FieldPath::new("value");
        if let Some(old) = old {
            if number(value) != number(section(old, "value")) {
                errors.push(FieldError::forbidden(&path, "may not be changed in an update."));
            }
            if policy != section(old, "preemptionPolicy") {
                errors.push(FieldError::invalid(
                    &FieldPath::new("preemptionPolicy"),
                    policy.clone(),
                    IMMUTABLE,
                ));
            }
            return errors;
        }
        if new.name().starts_with("system-") {
            errors.extend(system_fault(new).map(|fault| {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {fault}"
                );
                FieldError::forbidden(&FieldPath::new("metadata").child("name"), detail)
            }));
        } else if number(value) > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(FieldError::forbidden(&path, detail));
        }
        const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
        if text(policy).is_empty() {
            errors.push(FieldError::required(&FieldPath::new("preemptionPolicy"), ""));
        } else if !POLICIES.contains(&text(policy)) {
            let path = FieldPath::new("preemptionPolicy");
            errors.push(FieldError::not_supported(&path, policy.clone(), POLICIES));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

fn system_fault(class: &Object) -> Option<String> {
    let name = class.name();
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if number(section(class, "value")) != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    truth(section(class, "globalDefault"))
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Value",
        "integer",
        "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        |it, _| integer(it, &["value"]),
    ),
    Column::new(
        "Global-Default",
        "boolean",
        "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
        |it, _| boolean(it, &["globalDefault"]),
    ),
    AGE,
    Column::new(
        "PreemptionPolicy",
        "string",
        "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
        |it, _| show(it, &["preemptionPolicy"]),
    ),
];
