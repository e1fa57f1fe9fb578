//! `metav1.LabelSelector`, which workloads, services' policies and affinities
//! hold.

use coracle_api::{FieldError, format};

use serde_json::Value;

use super::{
    core::pods::internal::Internal,
    meta::validate_labels,
    rules::{Check, Errors, Place, Rule},
};

/// What a label selector must be.
pub static SELECTOR: &[Check] = &[
    Check::With(|selector, errors| {
        if let Some(labels) = selector.field("matchLabels") {
            validate_labels(&labels, errors);
        }
    }),
    Check::Each("matchExpressions", REQUIREMENT),
];

static REQUIREMENT: &[Check] = &[
    Check::With(operator),
    Check::With(|requirement, errors| label_key(requirement, "key", errors)),
    Check::Items("values", &[Rule::Format(format::label_value)]),
];

fn operator(requirement: &Place<'_>, errors: &mut Errors) {
    let values = requirement.list("values");
    let path = requirement.path_of("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path, detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let path = requirement.path_of("operator");
            errors.push(FieldError::invalid(&path, other, "not a valid selector operator"));
        }
    }
}

/// A field that holds the key of a label; an empty one is wrong too.
pub fn label_key(place: &Place<'_>, field: &str, errors: &mut Errors) {
    let key = place.text(field);
    let faults = format::qualified_name(key).into_iter();
    errors.extend(faults.map(|fault| FieldError::invalid(&place.path_of(field), key, fault)));
}

/// A selector as upstream's messages show it.
pub fn shown(selector: Option<&Value>) -> String {
    selector.map_or_else(|| "null".to_owned(), |selector| Internal::read().compact("LabelSelector", selector))
}
