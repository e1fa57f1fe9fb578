//! Leases.

use coracle_api::{FieldError, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    rules::{self, Check, NOT_NEGATIVE, Rule},
    tree::{field, set},
};

/// The behaviour of leases.
pub struct Leases;

impl Strategy for Leases {
    // Coordinated leader election is off: its fields stay out.
    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        for name in ["strategy", "preferredHolder"] {
            if !old.is_some_and(|old| set(field(old, &["spec", name]))) {
                new.section_mut("spec").remove(name);
            }
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        rules::validate(&[Check::Within("spec", SPEC)], new, None)
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

static SPEC: &[Check] = &[
    Check::Field("leaseDurationSeconds", &[Rule::AtLeast(1, "must be greater than 0")]),
    Check::Field("leaseTransitions", &[Rule::AtLeast(0, NOT_NEGATIVE)]),
    Check::With(|spec, errors| {
        // Upstream repeats the field's name in the path.
        let (strategy, path) = (spec.text("strategy"), spec.path_of("strategy").child("strategy"));
        if spec.has("strategy") && !strategy.contains('/') && strategy != "OldestEmulationVersion" {
            errors.push(FieldError::not_supported(&path, strategy, &["OldestEmulationVersion"]));
        } else if strategy.contains('/') {
            let faults = format::qualified_name(strategy);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, strategy, fault)));
        }
        if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
            let detail = "may only be specified if `strategy` is defined";
            errors.push(FieldError::forbidden(&spec.path_of("preferredHolder"), detail));
        }
    }),
];

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Holder",
        "string",
        "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
        |it, _| show(it, &["spec", "holderIdentity"]),
    ),
    AGE,
];
