//! Names of compute resources and how much of one there may be: the rules
//! that nodes, quotas, limit ranges and volumes share.

use coracle_api::{FieldError, FieldPath, Quantity, format};
use serde_json::{Map, Value};

use super::pods::resources;
use crate::resources::rules::NOT_NEGATIVE;

/// The resources that every node may have and their `requests.` and `limits.`
/// forms, and the counts of objects that a quota may limit.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Huge pages of some size.
pub fn huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether it is a resource of Kubernetes' own.
pub fn native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether more of it may be promised than there is.
pub fn overcommits(name: &str) -> bool {
    native(name) && !huge_pages(name)
}

/// Whether it is somebody's own, `example.com/gpu`.
pub fn extended(name: &str) -> bool {
    !native(name)
        && !name.starts_with("requests.")
        && format::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a quota may limit it by its short name.
pub fn in_quotas(name: &str) -> bool {
    (STANDARD.contains(&name) && name != "storage")
        || huge_pages(name)
        || name.starts_with("requests.hugepages-")
}

/// What is wrong with the name of a resource.
pub fn name(name: &str, path: &FieldPath) -> Vec<FieldError> {
    let faults = format::qualified_name(name);
    if !faults.is_empty() {
        return faults.into_iter().map(|fault| FieldError::invalid(path, name, fault)).collect();
    }
    let standard = STANDARD.contains(&name) || huge_pages(name) || name.starts_with("requests.hugepages-");
    if name.contains('/') || standard {
        return Vec::new();
    }
    vec![FieldError::invalid(path, name, "must be a standard resource type or fully qualified")]
}

/// What is wrong with the name of a resource in a quota.
pub fn quota_name(resource: &str, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = name(resource, path);
    if !resource.contains('/') && !in_quotas(resource) {
        errors.push(FieldError::invalid(path, resource, "must be a standard resource for quota"));
    }
    errors
}

/// What is wrong with the name of a resource of a container.
pub fn container_name(resource: &str, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = name(resource, path);
    if !resource.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&resource) && !huge_pages(resource) {
            errors.push(FieldError::invalid(path, resource, "must be a standard resource for containers"));
        }
    } else if !native(resource) && !extended(resource) {
        errors.push(FieldError::invalid(path, resource, "doesn't follow extended resource name standard"));
    }
    errors
}

/// A quantity; objects are canonical, so one that does not parse is none.
pub fn parse(text: &str) -> Option<Quantity> {
    text.parse().ok()
}

/// What is wrong with an amount of that resource, as its text.
pub fn amount(resource: &str, quantity: &str, path: &FieldPath) -> Vec<FieldError> {
    parse(quantity).map_or_else(Vec::new, |it| quantity_of(resource, &it, path))
}

/// Rounds the amounts in the map `list` of an object up to thousandths: nothing smaller is kept.
pub fn to_milli(fields: &mut Map<String, Value>, list: &str) {
    let Some(Value::Object(amounts)) = fields.get_mut(list) else { return };
    for value in amounts.values_mut() {
        let mut quantity = resources::quantity(value);
        // Says whether nothing was lost; then the text stays as it is.
        if !quantity.round_up(-3) {
            *value = quantity.to_string().into();
        }
    }
}

/// What is wrong with an amount of that resource.
pub fn quantity_of(resource: &str, quantity: &Quantity, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if quantity.sign() < 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), NOT_NEGATIVE));
    }
    if (COUNTED.contains(&resource) || extended(resource)) && quantity.milli_value() % 1000 != 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
    }
    errors
}

/// Refuses an amount below 0.
pub fn not_negative(quantity: &str, path: &FieldPath) -> Vec<FieldError> {
    match parse(quantity) {
        Some(it) if it.sign() < 0 => {
            vec![FieldError::invalid(path, quantity, NOT_NEGATIVE)]
        }
        _ => Vec::new(),
    }
}

/// Refuses an amount of 0 or below.
pub fn positive(quantity: &str, path: &FieldPath) -> Vec<FieldError> {
    match parse(quantity) {
        Some(it) if it.sign() <= 0 => {
            vec![FieldError::invalid(path, quantity, "must be greater than zero")]
        }
        _ => Vec::new(),
    }
}

/// Refuses an amount of storage below 0, in upstream's older words.
pub fn basic(quantity: &str, path: &FieldPath) -> Vec<FieldError> {
    match parse(quantity) {
        Some(it) if it.value() < 0 => {
            vec![FieldError::invalid(path, it.value(), "must be a valid resource quantity")]
        }
        _ => Vec::new(),
    }
}
