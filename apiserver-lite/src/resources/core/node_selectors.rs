//! Node selectors: which nodes something is about.

use coracle_api::{FieldError, format};
use serde_json::Value;

use crate::resources::rules::{Check, Place, Rule};

/// The rules of a node selector.
pub static SELECTOR: &[Check] = &[
    Check::With(|selector, errors| {
        if selector.list("nodeSelectorTerms").is_empty() {
            let path = selector.path_of("nodeSelectorTerms");
            errors.push(FieldError::required(&path, "must have at least one node selector term"));
        }
    }),
    Check::Each("nodeSelectorTerms", TERM),
];

/// The rules of one term of a node selector.
pub static TERM: &[Check] =
    &[Check::Each("matchExpressions", EXPRESSION), Check::Each("matchFields", &[Check::With(field)])];

static EXPRESSION: &[Check] = &[
    Check::With(expression),
    Check::With(|it, errors| {
        for fault in format::qualified_name(it.text("key")) {
            errors.push(FieldError::invalid(&it.path_of("key"), it.text("key"), fault));
        }
    }),
    Check::Items("values", &[Rule::Format(format::label_value)]),
];

fn expression(it: &Place<'_>, errors: &mut Vec<FieldError>) {
    let values = it.path_of("values");
    let given = it.list("values").len();
    match it.text("operator") {
        "In" | "NotIn" if given == 0 => {
            errors.push(FieldError::required(&values, "must be specified when `operator` is 'In' or 'NotIn'"))
        }
        "Exists" | "DoesNotExist" if given > 0 => errors.push(FieldError::forbidden(
            &values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if given != 1 => errors.push(FieldError::required(
            &values,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        operator => errors.push(FieldError::invalid(
            &it.path_of("operator"),
            operator,
            "not a valid selector operator",
        )),
    }
}

fn field(it: &Place<'_>, errors: &mut Vec<FieldError>) {
    let values = it.path_of("values");
    match it.text("operator") {
        "In" | "NotIn" if it.list("values").len() != 1 => errors.push(FieldError::required(
            &values,
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        operator => errors.push(FieldError::invalid(
            &it.path_of("operator"),
            operator,
            "not a valid selector operator",
        )),
    }
    if it.text("key") != "metadata.name" {
        let detail = "not a valid field selector key";
        errors.push(FieldError::invalid(&it.path_of("key"), it.text("key"), detail));
        return;
    }
    for (index, name) in it.texts("values").enumerate() {
        for fault in format::dns1123_subdomain(name) {
            errors.push(FieldError::invalid(&values.index(index), name, fault));
        }
    }
}

// Labels that nodes had by an older name.
const RENAMED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// Whether two affinities differ at most in labels that went from their older
/// name to their newer one.
pub fn same_but_for_renamed_labels(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && old.iter().all(|(key, old)| {
                    new.get(key).is_some_and(|new| {
                        let renamed =
                            key == "key" && RENAMED.iter().any(|(from, to)| *old == **from && *new == **to);
                        renamed || same_but_for_renamed_labels(old, new)
                    })
                })
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| same_but_for_renamed_labels(old, new))
        }
        (old, new) => old == new,
    }
}
