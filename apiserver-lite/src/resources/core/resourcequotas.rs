//! Resource quotas.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME},
    rules::IMMUTABLE,
    separate,
    tree::{entries, field, list, section, set, text, texts},
};

use super::quantities;

/// The behaviour of resource quotas.
pub struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn default(&self, object: &mut Object) {
        if let Some(Value::Object(spec)) = object.0.get_mut("spec") {
            quantities::to_milli(spec, "hard");
        }
        if let Some(Value::Object(status)) = object.0.get_mut("status") {
            quantities::to_milli(status, "hard");
            quantities::to_milli(status, "used");
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if write.part == Part::Status {
            if new.resource_version().is_empty() {
                errors.push(FieldError::required(&FieldPath::new("resourceVersion"), ""));
            }
            errors.extend(amounts(new, "status", "hard"));
            errors.extend(amounts(new, "status", "used"));
            return errors;
        }
        errors.extend(amounts(new, "spec", "hard"));
        errors.extend(scopes(section(new, "spec")));
        errors.extend(selector(section(new, "spec")));
        if let Some(old) = old {
            let of =
                |quota| -> BTreeSet<&str> { texts(field(quota, &["spec", "scopes"])).into_iter().collect() };
            if of(new) != of(old) {
                let path = FieldPath::new("spec").child("scopes");
                errors.push(FieldError::invalid(&path, field(new, &["spec", "scopes"]).clone(), IMMUTABLE));
            }
        }
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        if old.is_some() || write.part != Part::Whole {
            return Vec::new();
        }
        let hard = field(new, &["spec", "hard"]);
        let mut warnings = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let bare = ["cpu", "memory"].contains(&name).then(|| name.to_owned());
            let request = [Some(format!("requests.{name}")), bare]
                .into_iter()
                .flatten()
                .find(|it| set(&hard[it.as_str()]));
            let limit = format!("limits.{name}");
            let Some(request) = request else { continue };
            let (asked, most) = (text(&hard[request.as_str()]), text(&hard[limit.as_str()]));
            if quantities::parse(asked).zip(quantities::parse(most)).is_some_and(|(asked, most)| asked > most)
            {
                warnings
                    .push(format!("ResourceQuota {request} ({asked}) should be less than {limit} ({most})"));
            }
        }
        warnings
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn amounts(quota: &Object, part: &str, list: &str) -> Vec<FieldError> {
    let path = FieldPath::new(part).child(list);
    let mut errors = Vec::new();
    for (name, quantity) in entries(field(quota, &[part, list])) {
        let path = path.key(name);
        errors.extend(quantities::quota_name(name, &path));
        errors.extend(quantities::amount(name, text(quantity), &path));
    }
    errors
}

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

// Whether a quota of that scope can limit that resource.
fn scope_fits(scope: &str, name: &str) -> bool {
    const COMPUTE: &[&str] =
        &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "pods"];
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => COMPUTE.contains(&name),
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&name),
        _ => true,
    }
}

fn misfits<'a>(spec: &'a Value, scope: &'a str) -> usize {
    let names = entries(&spec["hard"]).map(|(name, _)| name);
    names.filter(|name| quantities::in_quotas(name) && !scope_fits(scope, name)).count()
}

fn conflicts(scopes: &BTreeSet<&str>) -> usize {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    pairs.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))).count()
}

fn scopes(spec: &Value) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("scopes");
    let invalid = |detail: &str| FieldError::invalid(&path, spec["scopes"].clone(), detail);
    let all = texts(&spec["scopes"]);
    let mut errors = Vec::new();
    for scope in &all {
        if !SCOPES.contains(scope) {
            errors.push(invalid("unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            errors.push(invalid("unsupported scope applied to resource"));
        }
    }
    for _ in 0..conflicts(&all.into_iter().collect()) {
        errors.push(invalid("conflicting scopes"));
    }
    errors
}

fn selector(spec: &Value) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("scopeSelector").child("matchExpressions");
    let mut errors = Vec::new();
    let mut all = BTreeSet::new();
    for requirement in list(&spec["scopeSelector"]["matchExpressions"]) {
        let (scope, operator) = (text(&requirement["scopeName"]), text(&requirement["operator"]));
        let values = &requirement["values"];
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            let detail = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(&path, spec["scopeSelector"].clone(), detail));
        }
        let only_exists =
            !["PriorityClass", "VolumeAttributesClass"].contains(&scope) && SCOPES.contains(&scope);
        if only_exists && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
        }
        match operator {
            "In" | "NotIn" if list(values).is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !list(values).is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&path.child("values"), values.clone(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                &path.child("operator"),
                operator,
                "not a valid selector operator",
            )),
        }
        all.insert(scope);
    }
    for _ in 0..conflicts(&all) {
        let path = FieldPath::new("spec").child("scopeSelector").child("matchExpressions");
        errors.push(FieldError::invalid(&path, spec["scopes"].clone(), "conflicting scopes"));
    }
    errors
}

fn used(quota: &Object, limits: bool) -> Value {
    let status = section(quota, "status");
    let shown: Vec<String> = entries(&status["hard"])
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = status["used"].get(name).map_or("0", text);
            format!("{name}: {used}/{}", text(hard))
        })
        .collect();
    shown.join(", ").into()
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Request",
        "string",
        "Request represents a minimum amount of cpu/memory that a container may consume.",
        |it, _| used(it, false),
    ),
    Column::new(
        "Limit",
        "string",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        |it, _| used(it, true),
    ),
    AGE,
];
