//! Bindings of admission policies.

use coracle_api::{FieldError, Object, format};
use serde_json::Value;

use super::policies::{CONSTRAINTS, default_constraints, operations_alone};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    declared::{self, Declared, Must},
    label_selectors,
    rules::{self, Check, Errors, Place, Rule},
    tree::{entries, field, list, object_mut, text, texts},
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

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let spec = place.part("spec");
        rules::check(if self.mutating { MUTATING_SPEC } else { SPEC }, &spec, &mut errors);
        if self.mutating {
            operations_alone(&spec, "matchResources", &mut errors);
        } else {
            actions(&spec, &mut errors);
            declared::check(VALIDATING, &Place::object(new, old), &mut errors);
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

static MUTATING_SPEC: &[Check] = &[Check::Field("policyName", &[Rule::Required("")]), Check::All(SPEC)];

static SPEC: &[Check] = &[
    Check::Field("policyName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Within("paramRef", &[Check::With(parameter)]),
    Check::Within("matchResources", CONSTRAINTS),
];

static VALIDATING: &[Declared] = &[Declared::Part(
    "spec",
    &[
        Declared::Field("policyName", &[Must::Required]),
        Declared::Field("validationActions", &[Must::Required]),
    ],
)];

fn parameter(reference: &Place<'_>, errors: &mut Errors) {
    const BOTH: &str = "name and selector are mutually exclusive";
    let (name, path) = (reference.text("name"), reference.path_of("name"));
    let selector = reference.field("selector");
    if !name.is_empty() {
        let faults = format::path_segment_name(name);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        if selector.is_some() {
            errors.push(FieldError::forbidden(&path, BOTH));
        }
    }
    match &selector {
        Some(selector) => {
            rules::check(label_selectors::SELECTOR, selector, errors);
            if !name.is_empty() {
                errors.push(FieldError::forbidden(&selector.path(), BOTH));
            }
        }
        None if name.is_empty() => {
            errors.push(FieldError::required(&reference.path(), "one of name or selector must be specified"));
        }
        None => {}
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
}

fn shown(binding: &Object) -> Value {
    let reference = field(binding, &["spec", "paramRef"]);
    match (text(&reference["name"]), text(&reference["namespace"])) {
        ("", _) if !reference["selector"].is_null() => as_go(&reference["selector"]).into(),
        ("", _) => "<unset>".into(),
        (name, "") => format!("*/{name}").into(),
        (name, namespace) => format!("{namespace}/{name}").into(),
    }
}

// A selector as Go prints the struct.
fn as_go(selector: &Value) -> String {
    let labels: String =
        entries(&selector["matchLabels"]).map(|(key, value)| format!("{key}: {},", text(value))).collect();
    let requirement = |it: &Value| {
        let (key, operator) = (text(&it["key"]), text(&it["operator"]));
        let values = texts(&it["values"]).join(" ");
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let requirements: String = list(&selector["matchExpressions"]).iter().map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
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
