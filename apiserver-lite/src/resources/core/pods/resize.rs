//! `pods/resize`: more or less CPU and memory for containers that run.

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::{Map, Value};

use super::{annotations::MIRROR, resources, strategy};
use crate::resources::rules::Errors;

/// Validates a resize.
pub fn validate(new: &Object, old: &Object) -> Errors {
    let root = FieldPath::new("");
    if old.annotation(MIRROR).is_some() {
        return vec![FieldError::forbidden(&root, "static pods cannot be resized")];
    }
    if old.get_str(&["spec", "os", "name"]) == "windows" {
        return vec![FieldError::forbidden(&root, "windows pods cannot be resized")];
    }
    let mut errors = strategy::validate_whole(new);
    let path = FieldPath::new("spec");
    let class = old.get_str(&["status", "qosClass"]);
    let before = if class.is_empty() { resources::quality(old) } else { class };
    if before != resources::quality(new) {
        let shown = new.get_str(&["status", "qosClass"]);
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, shown, detail));
    }
    if !node_can(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    let (Some(spec), Some(before)) = (new.0.get("spec"), old.0.get("spec")) else { return errors };
    let mut rest = spec.clone();
    whole(&mut rest, before, &path, &mut errors);
    let order = order(spec, before, &path);
    if !order.is_empty() {
        errors.extend(order);
        return errors;
    }
    for list in ["initContainers", "containers"] {
        for (index, (new, old)) in pairs(spec, before, list).enumerate() {
            removed(
                &new["resources"],
                &old["resources"],
                &path.child(list).index(index).child("resources"),
                "",
                &mut errors,
            );
        }
    }
    containers(&mut rest, before, &path, &mut errors);
    if spec.get("volumes") != before.get("volumes") {
        let detail = "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled";
        errors.push(FieldError::forbidden(&path.child("volumes"), detail));
    }
    if errors.is_empty() && rest != *before {
        errors.push(FieldError::forbidden(&path, "only cpu and memory resources are mutable"));
    }
    errors
}

// A node that resizes reports resources of what runs. Before that, who knows.
fn node_can(pod: &Object) -> bool {
    let statuses = pod.get(&["status", "containerStatuses"]).and_then(Value::as_array);
    let running = statuses.into_iter().flatten().find(|it| it["state"].get("running").is_some());
    running.is_none_or(|status| status.get("resources").is_some())
}

fn pairs<'a>(new: &'a Value, old: &'a Value, list: &str) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let items = |spec: &'a Value| spec.get(list).and_then(Value::as_array).into_iter().flatten();
    items(new).zip(items(old))
}

fn order(new: &Value, old: &Value, path: &FieldPath) -> Errors {
    let mut errors = Errors::new();
    for list in ["containers", "initContainers"] {
        let length = |spec: &Value| spec.get(list).and_then(Value::as_array).map_or(0, Vec::len);
        if length(new) != length(old) {
            let detail = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path.child(list), detail));
            continue;
        }
        for (index, (new, old)) in pairs(new, old, list).enumerate() {
            if new["name"] != old["name"] {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(FieldError::forbidden(&path.child(list).index(index).child("name"), detail));
            }
        }
    }
    errors
}

fn list<'a>(resources: &'a Value, kind: &str) -> Option<&'a Map<String, Value>> {
    resources.get(kind).and_then(Value::as_object)
}

fn removed(new: &Value, old: &Value, path: &FieldPath, whose: &str, errors: &mut Errors) {
    for (kind, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
        let new = list(new, kind);
        let gone = list(old, kind)
            .is_some_and(|old| old.keys().any(|name| new.is_none_or(|new| !new.contains_key(name))));
        if gone {
            let detail = format!("{whose}{what} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(kind), detail));
        }
    }
}

// The pod's own resources.
fn whole(rest: &mut Value, before: &Value, path: &FieldPath, errors: &mut Errors) {
    let set = |spec: &Value| {
        let own = spec.get("resources");
        own.is_some_and(|own| {
            ["requests", "limits"].iter().any(|it| list(own, it).is_some_and(|it| !it.is_empty()))
        })
    };
    if !set(rest) && !set(before) {
        return;
    }
    let Some(own) = rest.get("resources").cloned() else {
        let detail = "pod-level resources cannot be removed";
        errors.push(FieldError::forbidden(&path.child("resources"), detail));
        return;
    };
    if let Some(old) = before.get("resources") {
        removed(&own, old, &path.child("resources"), "pod-level ", errors);
    }
    let put_back = restored(&own, before.get("resources"));
    if let Some(fields) = rest.as_object_mut() {
        match put_back {
            Some(value) => fields.insert("resources".to_owned(), value),
            None => fields.remove("resources"),
        };
    }
    if rest.get("resources") != before.get("resources") {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(path, detail));
    }
}

// The same resources with the CPU and memory that were before. `None` where
// nothing is left and nothing was.
fn restored(new: &Value, old: Option<&Value>) -> Option<Value> {
    let mut fields = new.as_object().cloned().unwrap_or_default();
    for kind in ["limits", "requests"] {
        let mut amounts = list(new, kind).cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            amounts.remove(name);
            if let Some(amount) = old.and_then(|old| list(old, kind)?.get(name)) {
                amounts.insert(name.to_owned(), amount.clone());
            }
        }
        if amounts.is_empty() {
            fields.remove(kind);
        } else {
            fields.insert(kind.to_owned(), Value::Object(amounts));
        }
    }
    (old.is_some() || !fields.is_empty()).then_some(Value::Object(fields))
}

fn containers(rest: &mut Value, before: &Value, path: &FieldPath, errors: &mut Errors) {
    for name in ["containers", "initContainers"] {
        let old = before.get(name).and_then(Value::as_array);
        let new = rest.get_mut(name).and_then(Value::as_array_mut);
        for (index, (new, old)) in new.into_iter().flatten().zip(old.into_iter().flatten()).enumerate() {
            let changed = new != old;
            let own = restored(&new["resources"], old.get("resources"));
            if let (Some(fields), Some(own)) = (new.as_object_mut(), own) {
                fields.insert("resources".to_owned(), own);
            }
            let init = name == "initContainers";
            let at = if init { path.child(name).index(index) } else { path.clone() };
            if new != old {
                let detail = if init {
                    "only cpu and memory resources for init or sidecar containers are mutable"
                } else {
                    "only cpu and memory resources are mutable"
                };
                errors.push(FieldError::forbidden(&at, detail));
            }
            let policies = new.get("resizePolicy").and_then(Value::as_array);
            if init && changed && new["restartPolicy"] != "Always" {
                let restart =
                    policies.into_iter().flatten().filter(|it| it["restartPolicy"] == "RestartContainer");
                let detail =
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.extend(restart.map(|_| FieldError::forbidden(&at, detail)));
            }
        }
    }
}
