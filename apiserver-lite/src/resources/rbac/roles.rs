//! Roles and cluster roles.

use coracle_api::{FieldError, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Strategy, Write,
    columns::{CREATED_AT, NAME},
    declared::{self, Declared, Must},
    label_selectors,
    rules::{self, Check, Errors, Place},
};

/// The behaviour of roles.
pub struct Roles;

/// The behaviour of cluster roles.
pub struct ClusterRoles;

impl Strategy for Roles {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let checks = &[Check::Each("rules", &[Check::With(|it, errors| rule(it, true, errors))])];
        let mut errors = rules::validate(checks, new, None);
        declared::check(DECLARED, &Place::object(new, old), &mut errors);
        errors
    }

    fn name(&self, name: &str, _prefix: bool) -> Vec<String> {
        format::path_segment_name(name)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

impl Strategy for ClusterRoles {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(CLUSTER_ROLE, new, None);
        declared::check(DECLARED, &Place::object(new, old), &mut errors);
        errors
    }

    fn name(&self, name: &str, _prefix: bool) -> Vec<String> {
        format::path_segment_name(name)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

static CLUSTER_ROLE: &[Check] = &[
    Check::Each("rules", &[Check::With(|it, errors| rule(it, false, errors))]),
    Check::Within(
        "aggregationRule",
        &[
            Check::With(|it, errors| {
                if it.list("clusterRoleSelectors").is_empty() {
                    let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                    errors.push(FieldError::required(&it.path_of("clusterRoleSelectors"), detail));
                }
            }),
            Check::Each("clusterRoleSelectors", &[Check::With(selector)]),
        ],
    ),
];

static DECLARED: &[Declared] =
    &[Declared::Field("rules", &[Must::Each(&[], &[Declared::Field("verbs", &[Must::Required])])])];

// Upstream looks at it in two ways, and the second says only that it is wrong.
fn selector(selector: &Place<'_>, errors: &mut Errors) {
    let before = errors.len();
    rules::check(label_selectors::SELECTOR, selector, errors);
    if errors.len() > before {
        errors.push(FieldError::invalid(&selector.path(), Value::Null, "invalid label selector."));
    }
}

fn rule(rule: &Place<'_>, namespaced: bool, errors: &mut Errors) {
    let mut required = |name: &str, detail: &str| {
        if rule.list(name).is_empty() {
            errors.push(FieldError::required(&rule.path_of(name), detail));
        }
    };
    let urls = rule.list("nonResourceURLs");
    if urls.is_empty() {
        required("apiGroups", "resource rules must supply at least one api group");
        required("resources", "resource rules must supply at least one resource");
        return;
    }
    let path = rule.path_of("nonResourceURLs");
    let mut invalid = |detail: &str| errors.push(FieldError::invalid(&path, json!(urls), detail));
    if namespaced {
        invalid("namespaced rules cannot apply to non-resource URLs");
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|name| !rule.list(name).is_empty()) {
        invalid("rules cannot apply to both regular resources and non-resource URLs");
    }
}

/// The columns of both.
pub static COLUMNS: &[Column] = &[NAME, CREATED_AT];
