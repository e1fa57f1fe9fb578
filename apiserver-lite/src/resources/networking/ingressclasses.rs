//! Ingress classes.

use coracle_api::{FieldError, FieldPath, Object, field::FieldErrorKind, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, named, show},
    declared,
    rules::{self, Check, Errors, IMMUTABLE, Place, Rule},
    tree::{field, or_unset, set, text},
};

/// The behaviour of ingress classes.
pub struct IngressClasses;

impl Strategy for IngressClasses {
    fn default(&self, object: &mut Object) {
        let parameters = object.0.get_mut("spec").and_then(|spec| spec.get_mut("parameters"));
        if let Some(Value::Object(parameters)) = parameters {
            or_unset(parameters, "scope", "Cluster");
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let controller = new.get_str(&["spec", "controller"]);
        let path = FieldPath::new("spec").child("controller");
        let mut errors = Vec::new();
        if old.is_some_and(|old| old.get_str(&["spec", "controller"]) != controller) {
            errors.push(FieldError::invalid(&path, controller, IMMUTABLE));
        }
        const MAX: usize = 250;
        if controller.len() > MAX {
            errors.push(FieldError::too_long(&path, MAX));
        }
        errors.extend(domain_path(controller, &path));
        errors.extend(rules::validate(CLASS, new, None));
        declared::last(&mut errors, |error| {
            let named = ["spec.parameters.kind", "spec.parameters.name"].contains(&error.path.as_str());
            named && error.kind == FieldErrorKind::Required
        });
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

/// A path under a domain, `acme.io/foo`.
pub fn domain_path(text: &str, path: &FieldPath) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let (host, rest) = match text.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return vec![FieldError::invalid(path, text, detail)];
        }
    };
    let faults = format::dns1123_subdomain(host).into_iter();
    let mut errors: Vec<FieldError> = faults.map(|fault| FieldError::invalid(path, host, fault)).collect();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(fits) {
        let detail = format::mismatch("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(FieldError::invalid(path, rest, detail));
    }
    errors
}

static CLASS: &[Check] = &[Check::Within("spec", &[Check::Within("parameters", PARAMETERS)])];

static PARAMETERS: &[Check] = &[
    Check::Pointer("apiGroup", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Field("kind", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::With(scope),
];

fn scope(parameters: &Place<'_>, errors: &mut Errors) {
    let (path, namespace) = (parameters.path_of("scope"), parameters.path_of("namespace"));
    match parameters.text("scope") {
        "Namespace" if !parameters.has("namespace") => {
            errors.push(FieldError::required(&namespace, "`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => {
            let name = parameters.text("namespace");
            let faults = format::dns1123_label(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&namespace, name, fault)));
        }
        "Cluster" if parameters.has("namespace") => {
            errors.push(FieldError::forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["Cluster", "Namespace"])),
    }
}

fn name(class: &Object) -> Value {
    let default = class.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true");
    if default { format!("{} (default)", class.name()).into() } else { class.name().into() }
}

fn parameters(class: &Object) -> Value {
    let it = field(class, &["spec", "parameters"]);
    if it.is_null() {
        return "<none>".into();
    }
    let group = if set(&it["apiGroup"]) { format!(".{}", text(&it["apiGroup"])) } else { String::new() };
    format!("{}{group}/{}", text(&it["kind"]), text(&it["name"])).into()
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    named(|it, _| name(it)),
    Column::new("Controller", "string", "Controller that is responsible for handling this class", |it, _| {
        show(it, &["spec", "controller"])
    }),
    Column::new("Parameters", "string", "A reference to a resource with additional parameters", |it, _| {
        parameters(it)
    }),
    AGE,
];
