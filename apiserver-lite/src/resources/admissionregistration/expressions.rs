//! The expressions that admission's objects hold.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, format};
use serde_json::Value;

use crate::{
    cel::{Kind, Scope},
    resources::{
        rules::{Errors, Place},
        tree::{list, text},
    },
};

/// What is wrong with an expression that must be of one of these types, by their names.
pub fn expression(source: &str, scope: &Scope, wanted: &[Kind], path: &FieldPath) -> Option<FieldError> {
    let kind = match scope.compile(source) {
        Ok(kind) => kind,
        Err(fault) => return Some(fault.at(path, source)),
    };
    if !kind.is_known() || wanted.contains(&kind) {
        return None;
    }
    let detail = match wanted {
        [one] => format!("must evaluate to {one} but got {kind}"),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("must evaluate to one of [{}] but got {kind}", several.join(" "))
        }
    };
    Some(FieldError::invalid(path, source, detail))
}

/// The rules of match conditions, whose expressions may name params where there are some.
pub fn match_conditions(holder: &Place<'_>, params: bool, errors: &mut Errors) {
    const MOST: usize = 64;
    let scope = Scope::of_admission(params, true);
    let (all, path) = (holder.list("matchConditions"), holder.path_of("matchConditions"));
    if all.len() > MOST {
        errors.push(FieldError::too_many(&path, all.len(), MOST));
    }
    let mut names = BTreeSet::new();
    for (index, condition) in all.iter().enumerate() {
        let path = path.index(index);
        let at = path.child("expression");
        match text(&condition["expression"]).trim() {
            "" => errors.push(FieldError::required(&at, "")),
            source => errors.extend(expression(source, &scope, &[Kind::Bool], &at)),
        }
        let (name, at) = (text(&condition["name"]), path.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let faults = format::qualified_name(name);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, name, fault)));
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&at, name));
        }
    }
}

/// Checks the variables of a policy; their types, for what comes after them.
pub fn variables(spec: &Place<'_>, params: bool, errors: &mut Errors) -> Vec<(String, Kind)> {
    let mut known = Vec::new();
    let path = spec.path_of("variables");
    for (index, variable) in spec.list("variables").iter().enumerate() {
        let path = path.index(index);
        let (name, at) = (text(&variable["name"]), path.child("name"));
        if name.trim().is_empty() {
            errors.push(FieldError::required(&at, "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(FieldError::invalid(&at, name, "must be a valid CEL identifier"));
        }
        let (source, at) = (text(&variable["expression"]), path.child("expression"));
        if source.trim().is_empty() {
            errors.push(FieldError::required(&at, "expression is not specified"));
            continue;
        }
        let kind = match Scope::of_admission(params, true).with(&known).compile(source) {
            Ok(kind) => kind,
            Err(fault) => {
                errors.push(fault.at(&at, source));
                Kind::Dyn
            }
        };
        known.push((name.to_owned(), kind));
    }
    known
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

/// The rules of one validation. `scope` is that of its expression, `told` that of its message's.
pub fn validation(validation: &Place<'_>, scope: &Scope, told: &Scope, errors: &mut Errors) {
    const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
    let at = validation.path_of("expression");
    match validation.text("expression") {
        source if source.trim().is_empty() => {
            errors.push(FieldError::required(&at, "expression is not specified"));
        }
        source => errors.extend(expression(source, scope, &[Kind::Bool], &at)),
    }
    let (source, at) = (validation.text("messageExpression"), validation.path_of("messageExpression"));
    if !source.is_empty() && source.trim().is_empty() {
        errors.push(FieldError::invalid(&at, source, "must be non-empty if specified"));
    } else if !source.is_empty() {
        errors.extend(expression(source, told, &[Kind::String], &at));
    }
    let (message, at) = (validation.text("message"), validation.path_of("message"));
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&at, message, "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&at, message, "must not contain line breaks"));
    }
    let reason = validation.text("reason");
    if validation.has("reason") && !REASONS.contains(&reason) {
        errors.push(FieldError::not_supported(&validation.path_of("reason"), reason, REASONS));
    }
}

/// The rules of the annotations that a policy adds to audit events.
pub fn annotations(spec: &Place<'_>, policy: &str, scope: &Scope, errors: &mut Errors) {
    const MOST: usize = 20;
    const LONGEST: usize = 5 * 1024;
    let (all, path) = (spec.list("auditAnnotations"), spec.path_of("auditAnnotations"));
    if all.len() > MOST {
        let detail = format!("must not have more than {MOST} auditAnnotations");
        errors.push(FieldError::invalid(&path, Value::Array(all.to_vec()), detail));
    }
    for (index, annotation) in all.iter().enumerate() {
        let path = path.index(index);
        let (key, at) = (text(&annotation["key"]), path.child("key"));
        if policy.is_empty() {
            errors.push(FieldError::invalid(&at, key, "requires metadata.name be non-empty"));
        } else {
            let name = format!("{policy}/{key}");
            let faults = format::qualified_name(&name).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&at, name.as_str(), fault)));
        }
        let (given, at) = (text(&annotation["valueExpression"]), path.child("valueExpression"));
        match given.trim() {
            "" => errors.push(FieldError::required(&at, "valueExpression is not specified")),
            long if long.len() > LONGEST => {
                errors.push(FieldError::required(&at, format!("must not exceed {LONGEST} bytes in length")));
            }
            source => {
                if let Some(mut fault) = expression(source, scope, &[Kind::String, Kind::Null], &at) {
                    fault.value = given.into();
                    errors.push(fault);
                }
            }
        }
        if all.iter().take(index).any(|earlier| text(&earlier["key"]) == key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
    }
}

/// The rules of one mutation.
pub fn mutation(mutation: &Place<'_>, scope: &Scope, errors: &mut Errors) {
    const KINDS: &[&str] = &["ApplyConfiguration", "JSONPatch"];
    let (kind, at) = (mutation.text("patchType"), mutation.path_of("patchType"));
    let (own, other) = match kind {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "" => return errors.push(FieldError::required(&at, "")),
        _ => return errors.push(FieldError::not_supported(&at, kind, KINDS)),
    };
    let path = mutation.path_of(own);
    match mutation.get(own) {
        None => {
            let detail = format!("must be specified when patchType is {kind}");
            errors.push(FieldError::required(&path, detail));
        }
        Some(patch) => {
            let wanted = if own == "jsonPatch" {
                Kind::list(Kind::Opaque("JSONPatch"))
            } else {
                Kind::Opaque("Object")
            };
            let at = path.child("expression");
            match text(&patch["expression"]).trim() {
                "" => errors.push(FieldError::required(&at, "")),
                source => errors.extend(expression(source, scope, &[wanted], &at)),
            }
        }
    }
    if mutation.has(other) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(&mutation.path_of(other), format!("{{{other}}}"), detail));
    }
}

/// The texts of all expressions of that name, for what may be kept as it was.
pub fn unchanged(new: &Value, old: Option<&Value>, names: &[&str]) -> bool {
    old.is_some_and(|old| names.iter().all(|name| new[*name] == old[*name]))
}

/// Whether the match conditions of all webhooks are what they were.
pub fn all_unchanged(new: &Value, old: Option<&Value>) -> bool {
    old.is_some_and(|old| {
        let (new, old) = (list(new), list(old));
        new.len() == old.len()
            && new.iter().zip(old).all(|(new, old)| new["matchConditions"] == old["matchConditions"])
    })
}
