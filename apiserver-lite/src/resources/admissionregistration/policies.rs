//! Validating and mutating admission policies.

use coracle_api::{FieldError, Object, format};
use serde_json::Value;

use super::{
    expressions::{annotations, match_conditions, mutation, unchanged, validation, variables},
    webhooks::{default_matching, operations, rule},
};
use crate::{
    cel::Scope,
    resources::{
        Column, Part, Strategy, Write,
        columns::{AGE, NAME, size},
        conditions::conditions,
        keep_metadata, label_selectors,
        rules::{self, Check, Errors, Place, Rule},
        tree::{field, object_mut, objects_mut, section, text, texts},
    },
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

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        crate::resources::prepare(write, new, old);
        keep_metadata(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        if write.part == Part::Status {
            if let Some(status) = place.field("status") {
                status_faults(&status, &mut errors);
            }
            return errors;
        }
        let spec = place.part("spec");
        let params = spec.has("paramKind");
        rules::check(SPEC, &spec, &mut errors);
        if self.mutating {
            operations_alone(&spec, "matchConstraints", &mut errors);
        }
        let before = old.map(|old| section(old, "spec"));
        if !unchanged(section(new, "spec"), before, &["paramKind", "matchConditions"]) {
            match_conditions(&spec, params, &mut errors);
        }
        let variables = variables(&spec, params, &mut errors);
        // Without variables, expressions of validations cannot name them.
        let within = |scope: Scope| {
            if self.mutating || !variables.is_empty() { scope.with(&variables) } else { scope }
        };
        let scope = within(Scope::of_admission(params, true));
        if self.mutating {
            mutations(&spec, &scope.patching(), &mut errors);
        } else {
            let told = within(Scope::of_admission(params, false));
            validations(&spec, new.name(), &scope, &told, &mut errors);
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
    Check::Pointer("failurePolicy", &[Rule::Required(""), Rule::OneOf(&["Fail", "Ignore"])]),
    Check::Within("paramKind", &[Check::With(parameters)]),
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
];

/// The rules of match resources.
pub static CONSTRAINTS: &[Check] = &[
    Check::Pointer("matchPolicy", &[Rule::OneOf(&["Equivalent", "Exact"])]),
    Check::Within("namespaceSelector", label_selectors::SELECTOR),
    Check::Within("objectSelector", label_selectors::SELECTOR),
    Check::Each("resourceRules", RULES),
    Check::Each("excludeResourceRules", RULES),
];

static RULES: &[Check] =
    &[Check::With(names), Check::With(operations), Check::With(|it, errors| rule(it, true, errors))];

fn names(rule: &Place<'_>, errors: &mut Errors) {
    let path = rule.path_of("resourceNames");
    let all: Vec<&str> = rule.texts("resourceNames").collect();
    for (index, name) in all.iter().enumerate() {
        let path = path.index(index);
        let faults = format::path_segment_name(name).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&path, *name, fault)));
        if all.iter().take(index).any(|earlier| earlier == name) {
            errors.push(FieldError::duplicate(&path, *name));
        }
    }
}

// What kind of object policies are parameterized with.
fn parameters(kind: &Place<'_>, errors: &mut Errors) {
    let (version, path) = (kind.text("apiVersion"), kind.path_of("apiVersion"));
    let mut invalid = |value: &str, detail: String| errors.push(FieldError::invalid(&path, value, detail));
    let parts = match version {
        "/" => Some(("", "")),
        version => match version.split('/').collect::<Vec<_>>().as_slice() {
            [version] => Some(("", *version)),
            [group, version] => Some((*group, *version)),
            _ => None,
        },
    };
    match parts {
        _ if version.is_empty() => errors.push(FieldError::required(&path, "")),
        None => invalid(version, format!("unexpected GroupVersion string: {version}")),
        Some((group, own)) => {
            let faults = if group.is_empty() { Vec::new() } else { format::dns1123_subdomain(group) };
            if !faults.is_empty() {
                invalid(group, faults.join(","));
            }
            let faults = format::dns1035_label(own);
            if own.is_empty() {
                invalid(version, "version must be specified".to_owned());
            } else if !faults.is_empty() {
                invalid(own, faults.join(","));
            }
        }
    }
    let (name, path) = (kind.text("kind"), kind.path_of("kind"));
    let faults = format::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !faults.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
        errors.push(FieldError::invalid(&path, name, detail));
    }
}

fn validations(spec: &Place<'_>, policy: &str, scope: &Scope, told: &Scope, errors: &mut Errors) {
    if spec.list("validations").is_empty() && spec.list("auditAnnotations").is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&spec.path_of("validations"), detail));
        errors.push(FieldError::required(&spec.path_of("auditAnnotations"), detail));
        return;
    }
    if let Some(validations) = spec.field("validations") {
        validations.items().for_each(|it| validation(&it, scope, told, errors));
    }
    annotations(spec, policy, scope, errors);
}

fn mutations(spec: &Place<'_>, scope: &Scope, errors: &mut Errors) {
    if spec.list("mutations").is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required(&spec.path_of("mutations"), detail));
    }
    if let Some(mutations) = spec.field("mutations") {
        mutations.items().for_each(|it| mutation(&it, scope, errors));
    }
    const POLICIES: &[&str] = &["IfNeeded", "Never"];
    let (policy, path) = (spec.text("reinvocationPolicy"), spec.path_of("reinvocationPolicy"));
    if policy.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(&path, policy, POLICIES));
    }
}

/// Only what makes or changes objects can be mutated. Upstream does not say which rule it was.
pub fn operations_alone(spec: &Place<'_>, field: &str, errors: &mut Errors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
    let Some(matching) = spec.field(field) else { return };
    let path = matching.path_of("resourceRules").child("operations");
    for operation in matching.list("resourceRules").iter().flat_map(|rule| texts(&rule["operations"])) {
        if !OPERATIONS.contains(&operation) {
            errors.push(FieldError::not_supported(&path, operation, OPERATIONS));
        }
    }
}

fn status_faults(status: &Place<'_>, errors: &mut Errors) {
    if let Some(checking) = status.field("typeChecking")
        && let Some(warnings) = checking.field("expressionWarnings")
    {
        for warning in warnings.items() {
            if warning.text("warning").is_empty() {
                errors.push(FieldError::required(&warning.path_of("warning"), ""));
            }
            let (reference, path) = (warning.text("fieldRef").trim(), warning.path_of("fieldRef"));
            if reference.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if let Some(fault) = path_fault(reference) {
                errors.push(FieldError::invalid(&path, reference, format!("invalid JSONPath: {fault}")));
            }
        }
    }
    if let Some(list) = status.field("conditions") {
        conditions(&list, errors);
    }
}

// Why a reference to a field is no JSONPath, as far as its first characters tell.
fn path_fault(reference: &str) -> Option<String> {
    const ENDS: &str = ".,[]$@{} ";
    let mut chars = reference.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '[' => while chars.next_if(|c| *c != ']').is_some() {},
            '\'' | '"' => while chars.next_if(|c| *c != next).is_some() {},
            ' ' | '@' | '$' | ']' | '+' | '-' => {}
            '.' => while chars.next_if(|c| !ENDS.contains(*c)).is_some() {},
            c if c.is_alphanumeric() || c == '_' => while chars.next_if(|c| !ENDS.contains(*c)).is_some() {},
            odd => {
                return Some(format!("unrecognized character in action: U+{:04X} {odd:?}", u32::from(odd)));
            }
        }
        if matches!(next, '\'' | '"') {
            chars.next();
        }
    }
    None
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
