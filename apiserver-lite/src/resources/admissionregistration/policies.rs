//! Validating and mutating admission policies. Their CEL expressions are
//! checked where CEL is.

use coracle_api::{FieldError, Object, format};
use serde_json::Value;

use super::webhooks::{default_matching, match_conditions, operations, rule};
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, size},
    label_selectors,
    rules::{self, Check, Errors, Place, Rule},
    tree::{field, object_mut, objects_mut, text},
};

/// The behaviour of admission policies of either kind.
pub struct AdmissionPolicies {
    /// Whether the policy may change objects.
    pub mutating: bool,
}

impl Strategy for AdmissionPolicies {
    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        spec.entry("failurePolicy").or_insert_with(|| "Fail".into());
        if let Some(matching) = object_mut(spec, "matchConstraints") {
            default_constraints(matching);
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return Vec::new();
        }
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let Some(spec) = place.field("spec") else { return errors };
        rules::check(SPEC, &spec, &mut errors);
        let (name, what) =
            if self.mutating { ("mutations", "mutation") } else { ("validations", "validation") };
        let empty = spec.list(name).is_empty() && (self.mutating || spec.list("auditAnnotations").is_empty());
        if empty {
            let detail = if self.mutating {
                format!("{what}s must contain at least one item")
            } else {
                format!("{what}s or auditAnnotations must contain at least one item")
            };
            errors.push(FieldError::required(&spec.path_of(name), detail));
        }
        if let Some(validations) = spec.field("validations") {
            validations.items().for_each(|it| expression(&it, &mut errors));
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

/// The defaults of match resources.
pub fn default_constraints(matching: &mut serde_json::Map<String, Value>) {
    default_matching(matching);
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in objects_mut(matching, list) {
            rule.entry("scope").or_insert_with(|| "*".into());
        }
    }
}

static SPEC: &[Check] = &[
    Check::Field("failurePolicy", &[Rule::OneOf(&["Fail", "Ignore"])]),
    Check::Within(
        "paramKind",
        &[Check::Field("apiVersion", &[Rule::Required("")]), Check::Field("kind", &[Rule::Required("")])],
    ),
    Check::With(|spec, errors| {
        if !spec.has("matchConstraints") {
            errors.push(FieldError::required(&spec.path_of("matchConstraints"), ""));
        }
    }),
    Check::Within("matchConstraints", CONSTRAINTS),
    Check::With(|spec, errors| {
        let Some(matching) = spec.field("matchConstraints") else { return };
        if matching.list("resourceRules").is_empty() {
            errors.push(FieldError::required(&matching.path_of("resourceRules"), ""));
        }
    }),
    Check::With(match_conditions),
];

/// The rules of match resources.
pub static CONSTRAINTS: &[Check] = &[
    Check::Within("namespaceSelector", label_selectors::SELECTOR),
    Check::Within("objectSelector", label_selectors::SELECTOR),
    Check::Each("resourceRules", RULES),
    Check::Each("excludeResourceRules", RULES),
    Check::Field("matchPolicy", &[Rule::OneOf(&["Equivalent", "Exact"])]),
];

static RULES: &[Check] = &[Check::With(operations), Check::With(|it, errors| rule(it, true, errors))];

fn expression(validation: &Place<'_>, errors: &mut Errors) {
    if validation.text("expression").trim().is_empty() {
        let detail = "expression is not specified";
        errors.push(FieldError::required(&validation.path_of("expression"), detail));
    }
}

fn parameter(policy: &Object) -> Value {
    let kind = field(policy, &["spec", "paramKind"]);
    if kind.is_null() {
        return "<unset>".into();
    }
    format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])).into()
}

/// The columns of validating ones.
pub static VALIDATING: &[Column] = &[
    NAME,
    Column::new(
        "Validations",
        "integer",
        "Validations indicates the number of validation rules defined in this configuration",
        |it, _| size(it, &["spec", "validations"]),
    ),
    Column::new(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
        |it, _| parameter(it),
    ),
    AGE,
];

/// The columns of mutating ones.
pub static MUTATING: &[Column] = &[
    NAME,
    Column::new(
        "Mutations",
        "integer",
        "Mutation indicates the number of mutations rules defined in this configuration",
        |it, _| size(it, &["spec", "mutations"]),
    ),
    Column::new(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
        |it, _| parameter(it),
    ),
    AGE,
];
