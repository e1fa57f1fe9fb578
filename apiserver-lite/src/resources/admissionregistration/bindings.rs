//! Bindings of admission policies.

use coracle_api::{FieldError, Object, format};
use serde_json::Value;

use super::policies::{CONSTRAINTS, default_constraints};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    label_selectors,
    rules::{self, Check, Errors, Place, Rule},
    tree::{field, object_mut, text},
};

/// The behaviour of policy bindings of either kind.
pub struct PolicyBindings {
    /// Whether the policy may change objects.
    pub mutating: bool,
}

impl Strategy for PolicyBindings {
    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Object) {
        if let Some(matching) = object_mut(object.section_mut("spec"), "matchResources") {
            default_constraints(matching);
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let Some(spec) = place.field("spec") else { return errors };
        rules::check(SPEC, &spec, &mut errors);
        if !self.mutating {
            actions(&spec, &mut errors);
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

static SPEC: &[Check] = &[
    Check::Field("policyName", &[Rule::Required(""), Rule::Format(format::dns1123_subdomain)]),
    Check::Within(
        "paramRef",
        &[Check::With(parameter), Check::Within("selector", label_selectors::SELECTOR)],
    ),
    Check::Within("matchResources", CONSTRAINTS),
];

fn parameter(reference: &Place<'_>, errors: &mut Errors) {
    let (name, path) = (reference.text("name"), reference.path_of("name"));
    match (name.is_empty(), reference.has("selector")) {
        (false, true) => {
            errors.push(FieldError::forbidden(&path, "name and selector are mutually exclusive"));
        }
        (true, false) => {
            errors.push(FieldError::required(&reference.path(), "one of name or selector must be specified"))
        }
        (false, false) => {
            let faults = format::path_segment_name(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        }
        (true, true) => {}
    }
    const ACTIONS: &[&str] = &["Allow", "Deny"];
    let action = reference.text("parameterNotFoundAction");
    let path = reference.path_of("parameterNotFoundAction");
    if action.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !ACTIONS.contains(&action) {
        errors.push(FieldError::not_supported(&path, action, &["Deny", "Allow"]));
    }
}

fn actions(spec: &Place<'_>, errors: &mut Errors) {
    const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
    let path = spec.path_of("validationActions");
    let all: Vec<&str> = spec.texts("validationActions").collect();
    for (index, action) in all.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.push(FieldError::not_supported(&path.index(index), *action, ACTIONS));
        }
        if all[..index].contains(action) {
            errors.push(FieldError::duplicate(&path.index(index), *action));
        }
    }
    if all.contains(&"Deny") && all.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(&path, serde_json::json!(all), detail));
    }
    if all.is_empty() {
        errors.push(FieldError::required(&path, "at least one validation action is required"));
    }
}

fn shown(binding: &Object) -> Value {
    let reference = field(binding, &["spec", "paramRef"]);
    match (text(&reference["name"]), text(&reference["namespace"])) {
        ("", _) => "<unset>".into(),
        (name, "") => format!("*/{name}").into(),
        (name, namespace) => format!("{namespace}/{name}").into(),
    }
}

/// The columns of both.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "PolicyName",
        "string",
        "PolicyName indicates the policy definition which the policy binding binded to",
        |it, _| show(it, &["spec", "policyName"]),
    ),
    Column::new(
        "ParamRef",
        "string",
        "ParamRef indicates the param resource which sets the configuration param",
        |it, _| shown(it),
    ),
    AGE,
];
