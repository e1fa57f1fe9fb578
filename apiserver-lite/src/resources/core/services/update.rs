//! What an update of a service may change.

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::Value;

use super::{
    shape::{headless, needs_health_check},
    validate::balancer_class,
};
use crate::resources::{
    rules::IMMUTABLE,
    tree::{list, section, text},
};

/// The rules of an update.
pub fn update(new: &Object, old: &Object) -> Vec<FieldError> {
    let (before, after) = (section(old, "spec"), section(new, "spec"));
    let named = |spec: &Value| text(&spec["type"]) == "ExternalName";
    let mut errors = Vec::new();
    if !named(before) && !named(after) {
        errors.extend(cluster_ips(before, after));
        errors.extend(families(before, after));
    }
    let class = |spec: &Value| spec["loadBalancerClass"].clone();
    let balanced = |spec: &Value| text(&spec["type"]) == "LoadBalancer";
    if balanced(before) && balanced(after) && class(before) != class(after) {
        let path = FieldPath::new("spec").child("loadBalancerClass");
        errors.push(FieldError::invalid(&path, class(after), "may not change once set"));
    }
    errors.extend(balancer_class(after));
    let port = |spec: &Value| spec["healthCheckNodePort"].clone();
    if needs_health_check(before) && needs_health_check(after) && port(before) != port(after) {
        let path = FieldPath::new("spec").child("healthCheckNodePort");
        errors.push(FieldError::forbidden(&path, IMMUTABLE));
    }
    errors
}

// One address may become two and two one; the first stays.
fn cluster_ips(before: &Value, after: &Value) -> Vec<FieldError> {
    if headless(before) && headless(after) {
        return Vec::new();
    }
    step(before, after, "clusterIPs", "primary clusterIP can not be unset", "secondary clusterIP")
}

fn families(before: &Value, after: &Value) -> Vec<FieldError> {
    if headless(before) || headless(after) {
        return Vec::new();
    }
    step(before, after, "ipFamilies", "primary ipFamily can not be unset", "secondary ipFamily")
}

fn step(before: &Value, after: &Value, name: &str, unset: &str, second: &str) -> Vec<FieldError> {
    let (old, now) = (list(&before[name]), list(&after[name]));
    let path = FieldPath::new("spec").child(name);
    let families = name == "ipFamilies";
    let mut errors = Vec::new();
    let shown = |lengths_differ: bool| {
        // Upstream shows the addresses where families differ in number.
        after[if families && lengths_differ { "clusterIPs" } else { name }].clone()
    };
    if old.len() == now.len() {
        for (index, (old, now)) in old.iter().zip(now).enumerate() {
            if old != now {
                let path = path.index(if families { 0 } else { index });
                errors.push(FieldError::invalid(&path, shown(false), "may not change once set"));
            }
        }
        return errors;
    }
    if old.len() > now.len() && list(&after["clusterIPs"]).is_empty() {
        errors.push(FieldError::invalid(&path.index(0), shown(false), unset));
    }
    if let (Some(old), Some(now)) = (old.first(), now.first())
        && old != now
    {
        errors.push(FieldError::invalid(&path.index(0), shown(true), "may not change once set"));
    }
    if old.len() > now.len() && now.len() == 1 && text(&after["ipFamilyPolicy"]) != "SingleStack" {
        let path = FieldPath::new("spec").child("ipFamilyPolicy");
        let detail = format!("must be set to 'SingleStack' when releasing the {second}");
        errors.push(FieldError::invalid(&path, after["ipFamilyPolicy"].clone(), detail));
    }
    errors
}
