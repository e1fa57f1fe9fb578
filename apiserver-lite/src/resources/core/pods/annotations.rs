//! Annotations that mean something to pods: mirrors, deletion costs, and what
//! seccomp and AppArmor had before they had fields.

use coracle_api::{FieldError, FieldPath};
use serde_json::{Map, Value};

use super::{containers, scheduling, volumes::descending};
use crate::resources::rules::{Errors, Place, check};

/// Marks a pod that a node runs by itself, and that is only shown here.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Prefix of a container's name.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
/// The pod's seccomp profile.
pub const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Prefix of a container's name.
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The annotations of a pod's or template's metadata.
pub fn of(metadata: Option<&Value>) -> Option<&Map<String, Value>> {
    metadata?.get("annotations")?.as_object()
}

fn text<'a>(annotations: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    annotations.get(key)?.as_str()
}

/// What such annotations must be. `path` is that of the annotations.
pub fn validate(
    annotations: Option<&Map<String, Value>>,
    spec: &Place<'_>,
    path: &FieldPath,
    errors: &mut Errors,
) {
    let Some(annotations) = annotations else { return };
    if let Some(mirror) = text(annotations, MIRROR).filter(|_| spec.text("nodeName").is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), mirror, detail));
    }
    if let Some(tolerations) = text(annotations, TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Value>(tolerations) {
            Ok(list) => {
                let path = path.child(TOLERATIONS);
                let list = Place::at(path.as_str(), &list, None);
                list.items().for_each(|it| check(scheduling::TOLERATION, &it, errors));
            }
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if let Some(cost) = text(annotations, COST).filter(|cost| !is_cost(cost)) {
        errors.push(FieldError::invalid(&path.key(COST), cost, "must be a 32bit integer"));
    }
    if let Some(profile) = text(annotations, SECCOMP) {
        seccomp(profile, &path.child(SECCOMP), errors);
    }
    let texts = || annotations.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    for (key, profile) in texts().filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        seccomp(profile, &path.child(key), errors);
    }
    for (key, profile) in texts() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let mut found = false;
        containers::visit(spec, |container| found |= container.text("name") == name);
        if !found {
            errors.push(FieldError::invalid(&path.key(key), name, "container not found"));
        }
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {profile:?}");
            errors.push(FieldError::invalid(&path.key(key), profile, detail));
        }
    }
}

// No plus sign, no leading zeros.
fn is_cost(cost: &str) -> bool {
    let digits = cost.strip_prefix('-').unwrap_or(cost);
    let starts = cost == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c));
    starts && cost.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &FieldPath, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(local) => {
            errors.extend(descending(local).into_iter().map(|it| FieldError::invalid(path, local, it)));
        }
        None => errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// Annotations that say something else than the fields that replaced them.
pub fn agree(annotations: Option<&Map<String, Value>>, spec: &Place<'_>, errors: &mut Errors) {
    let Some(annotations) = annotations else { return };
    let profile = |place: &Place<'_>, field: &str| place.get("securityContext")?.get(field).cloned();
    if let (Some(own), Some(old)) = (profile(spec, "seccompProfile"), text(annotations, SECCOMP)) {
        let path = spec.path_of("securityContext").child("seccompProfile");
        differs("seccomp", old, &own, &["runtime/default", "docker/default"], &path, errors);
    }
    containers::visit(spec, |container| {
        let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
        if let (Some(own), Some(old)) = (profile(container, "seccompProfile"), text(annotations, &key)) {
            let path = container.path_of("securityContext").child("seccompProfile");
            differs("seccomp", old, &own, &["runtime/default", "docker/default"], &path, errors);
        }
    });
    if spec.get("os").is_some_and(|os| os["name"] == "windows") {
        return;
    }
    let of_pod = profile(spec, "appArmorProfile");
    containers::visit(spec, |container| {
        let key = format!("{APP_ARMOR}{}", container.text("name"));
        let own = profile(container, "appArmorProfile").or_else(|| of_pod.clone());
        if let (Some(own), Some(old)) = (own, text(annotations, &key)) {
            let path = container.path_of("securityContext").child("appArmorProfile");
            differs("apparmor", old, &own, &["runtime/default"], &path, errors);
        }
    });
}

fn differs(what: &str, old: &str, own: &Value, defaults: &[&str], path: &FieldPath, errors: &mut Errors) {
    let right = match own["type"].as_str() {
        Some("Unconfined") => old == "unconfined",
        Some("RuntimeDefault") => defaults.contains(&old),
        Some("Localhost") => match old.strip_prefix("localhost/") {
            None => false,
            Some(local) if own["localhostProfile"].as_str() == Some(local) => true,
            Some(_) => {
                let detail = format!("{what} profile in annotation and field must match");
                errors.push(FieldError::forbidden(&path.child("localhostProfile"), detail));
                return;
            }
        },
        _ => true,
    };
    if !right {
        let detail = format!("{what} type in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
}

/// Annotations that no update may touch.
pub fn unchanged(
    new: Option<&Map<String, Value>>,
    old: Option<&Map<String, Value>>,
    path: &FieldPath,
    errors: &mut Errors,
) {
    let empty = Map::new();
    let (new, old) = (new.unwrap_or(&empty), old.unwrap_or(&empty));
    let mut refuse = |key: &str, verb: &str| {
        if key.starts_with(APP_ARMOR) {
            let detail = format!("may not {verb} AppArmor annotations");
            errors.push(FieldError::forbidden(&path.key(key), detail));
        }
        if key == MIRROR {
            let detail = format!("may not {verb} mirror pod annotation");
            errors.push(FieldError::forbidden(&path.key(key), detail));
        }
    };
    old.iter()
        .filter(|(key, value)| new.get(*key) != Some(*value))
        .for_each(|(key, _)| refuse(key, "remove or update"));
    new.keys().filter(|key| !old.contains_key(*key)).for_each(|key| refuse(key, "add"));
}
