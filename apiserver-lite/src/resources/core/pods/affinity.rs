//! Affinity to nodes and to other pods.

use std::collections::HashSet;

use coracle_api::{FieldError, format};

use crate::resources::{
    label_selectors::{SELECTOR, label_key},
    rules::{Check, Errors, Place, Rule, check},
};

/// `spec.affinity`
pub static AFFINITY: &[Check] = &[
    Check::Within(
        "nodeAffinity",
        &[
            Check::Within("requiredDuringSchedulingIgnoredDuringExecution", NODE_SELECTOR),
            Check::Each("preferredDuringSchedulingIgnoredDuringExecution", PREFERRED_NODES),
        ],
    ),
    Check::Within("podAffinity", TERMS),
    Check::Within("podAntiAffinity", TERMS),
];

static TERMS: &[Check] = &[
    Check::Each("requiredDuringSchedulingIgnoredDuringExecution", TERM),
    Check::Each(
        "preferredDuringSchedulingIgnoredDuringExecution",
        &[Check::With(weight), Check::Within("podAffinityTerm", TERM)],
    ),
];

static TERM: &[Check] = &[
    Check::Within("labelSelector", SELECTOR),
    Check::Within("namespaceSelector", SELECTOR),
    Check::With(|term, errors| {
        // Upstream's path is not the field's.
        for namespace in term.texts("namespaces") {
            let faults = format::dns1123_label(namespace).into_iter();
            errors.extend(faults.map(|it| FieldError::invalid(&term.path_of("namespace"), namespace, it)));
        }
    }),
    Check::With(label_keys),
    Check::With(|term, errors| {
        if term.text("topologyKey").is_empty() {
            errors.push(FieldError::required(&term.path_of("topologyKey"), "can not be empty"));
        }
        label_key(term, "topologyKey", errors);
    }),
];

/// A `v1.NodeSelector` that must have terms.
pub static NODE_SELECTOR: &[Check] = &[
    Check::With(|selector, errors| {
        if selector.list("nodeSelectorTerms").is_empty() {
            let detail = "must have at least one node selector term";
            errors.push(FieldError::required(&selector.path_of("nodeSelectorTerms"), detail));
        }
    }),
    Check::Each(
        "nodeSelectorTerms",
        &[
            Check::Each(
                "matchExpressions",
                &[Check::All(NODE_LABEL), Check::Items("values", &[Rule::Format(format::label_value)])],
            ),
            Check::Each("matchFields", NODE_FIELD),
        ],
    ),
];

// Values are not checked here: what prefers nothing still schedules.
static PREFERRED_NODES: &[Check] = &[
    Check::With(weight),
    Check::Within(
        "preference",
        &[Check::Each("matchExpressions", NODE_LABEL), Check::Each("matchFields", NODE_FIELD)],
    ),
];

static NODE_LABEL: &[Check] =
    &[Check::With(node_operator), Check::With(|requirement, errors| label_key(requirement, "key", errors))];

static NODE_FIELD: &[Check] = &[Check::With(|requirement, errors| {
    let (operator, key) = (requirement.text("operator"), requirement.text("key"));
    if !matches!(operator, "In" | "NotIn") {
        let path = requirement.path_of("operator");
        errors.push(FieldError::invalid(&path, operator, "not a valid selector operator"));
    } else if requirement.list("values").len() != 1 {
        let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(FieldError::required(&requirement.path_of("values"), detail));
    }
    if key == "metadata.name" {
        check(&[Check::Items("values", &[Rule::Format(format::dns1123_subdomain)])], requirement, errors);
    } else {
        let path = requirement.path_of("key");
        errors.push(FieldError::invalid(&path, key, "not a valid field selector key"));
    }
})];

fn node_operator(requirement: &Place<'_>, errors: &mut Errors) {
    let (path, count) = (requirement.path_of("values"), requirement.list("values").len());
    match requirement.text("operator") {
        "In" | "NotIn" if count == 0 => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path, detail));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path, detail));
        }
        "Gt" | "Lt" if count != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&path, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            let path = requirement.path_of("operator");
            errors.push(FieldError::invalid(&path, other, "not a valid selector operator"));
        }
    }
}

fn weight(term: &Place<'_>, errors: &mut Errors) {
    let weight = term.number("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&term.path_of("weight"), weight, "must be in the range 1-100"));
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` beside a label selector.
pub fn label_keys(place: &Place<'_>, errors: &mut Errors) {
    let lists = ["matchLabelKeys", "mismatchLabelKeys"];
    for field in lists.into_iter().filter(|field| !place.list(field).is_empty()) {
        if !place.has("labelSelector") {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(&place.path_of(field), detail));
            continue;
        }
        for (index, key) in place.texts(field).enumerate() {
            let path = || place.path_of(field).index(index);
            let faults = format::qualified_name(key).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&path(), key, fault)));
        }
    }
    let keys: Vec<&str> = place.texts("matchLabelKeys").collect();
    // The selector already has what was merged into it from the keys, once.
    // A key found again was there before.
    if let Some(selector) = place.field("labelSelector") {
        let mut seen: HashSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
        for key in selector.list("matchExpressions").iter().filter_map(|it| it["key"].as_str()) {
            let index = keys.iter().rposition(|it| *it == key);
            if let Some(index) = index.filter(|_| seen.contains(key)) {
                let detail = "exists in both matchLabelKeys and labelSelector";
                errors.push(FieldError::invalid(&place.path().index(index), key, detail));
            }
            seen.insert(key);
        }
    }
    let mismatched: HashSet<&str> = place.texts("mismatchLabelKeys").collect();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| mismatched.contains(*key)) {
        let path = place.path_of("matchLabelKeys").index(index);
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&path, *key, detail));
    }
}
