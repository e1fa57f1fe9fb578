//! What an update may do to a pod: next to nothing. Its `spec` says what was
//! asked for when it was made.

use std::collections::{BTreeMap, HashSet};

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::{Map, Value};

use super::{annotations, diff, internal::Internal, scheduling, strategy};
use crate::resources::rules::{Errors, Place, check};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates an update of the pod itself.
pub fn validate(new: &Object, old: &Object) -> Errors {
    let mut errors = strategy::validate_whole(new);
    annotations_kept(new, old, &mut errors);
    let path = FieldPath::new("spec");
    for list in ["containers", "initContainers"] {
        if !images(items(new, list), items(old, list), &path.child(list), &mut errors) {
            return errors;
        }
    }
    if !deadline(new, old, &mut errors) {
        return errors;
    }
    tolerations(items(new, "tolerations"), items(old, "tolerations"), &mut errors);
    gates(items(new, "schedulingGates"), items(old, "schedulingGates"), &mut errors);
    let (Some(spec), Some(before)) = (new.0.get("spec"), old.0.get("spec")) else { return errors };
    if spec == before {
        return errors;
    }
    let mut rest = spec.clone();
    put_back(&mut rest, before);
    if !items(old, "schedulingGates").is_empty() {
        gated(&mut rest, before, &mut errors);
    }
    if rest != *before {
        let diff = diff::of_spec(before, &rest);
        let detail = format!("pod updates may not change fields other than {UPDATABLE}\n{diff}");
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// Annotations that no write to any part may touch.
pub fn annotations_kept(new: &Object, old: &Object, errors: &mut Errors) {
    let path = FieldPath::new("metadata").child("annotations");
    let annotations = new.meta("annotations").and_then(Value::as_object);
    annotations::unchanged(annotations, old.meta("annotations").and_then(Value::as_object), &path, errors);
    if let Some(spec) = Place::object(new, None).field("spec") {
        annotations::validate(annotations, &spec, &path, errors);
    }
}

fn items<'a>(pod: &'a Object, field: &str) -> &'a [Value] {
    pod.get(&["spec", field]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

// Whether to go on: the rest goes by position.
fn images(new: &[Value], old: &[Value], path: &FieldPath, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let image = container["image"].as_str().unwrap_or_default();
        let path = path.index(index).child("image");
        if image.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if image.trim() != image {
            let detail = "must not have leading or trailing whitespace";
            errors.push(FieldError::invalid(&path, image, detail));
        }
    }
    true
}

// It comes, or gets shorter.
fn deadline(new: &Object, old: &Object, errors: &mut Errors) -> bool {
    let of = |pod: &Object| pod.get(&["spec", "activeDeadlineSeconds"]).and_then(Value::as_i64);
    let path = FieldPath::new("spec").child("activeDeadlineSeconds");
    match (of(new), of(old)) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let detail = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(&path, new, detail));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.push(FieldError::invalid(&path, new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&path, Value::Null, detail));
            true
        }
        _ => true,
    }
}

fn tolerations(new: &[Value], old: &[Value], errors: &mut Errors) {
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration.to_string()
    };
    let kept: HashSet<String> = new.iter().map(bare).collect();
    let path = FieldPath::new("spec").child("tolerations");
    if old.iter().any(|old| !kept.contains(&bare(old))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&path, detail));
        return;
    }
    // Upstream validates them again here.
    let list = Value::Array(new.to_vec());
    let place = Place::at("spec.tolerations", &list, None);
    place.items().for_each(|toleration| check(scheduling::TOLERATION, &toleration, errors));
}

fn gates(new: &[Value], old: &[Value], errors: &mut Errors) {
    let name = |gate: &Value| gate["name"].as_str().unwrap_or_default().to_owned();
    let mut added: BTreeMap<String, usize> =
        new.iter().enumerate().map(|(index, gate)| (name(gate), index)).collect();
    old.iter().for_each(|gate| {
        added.remove(&name(gate));
    });
    for (name, index) in added {
        let path = FieldPath::new("spec").child("schedulingGates").index(index).child("name");
        let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        errors.push(FieldError::forbidden(&path, detail));
    }
}

// Undoes what was allowed, or judged already.
fn put_back(spec: &mut Value, before: &Value) {
    for list in ["containers", "initContainers"] {
        let old = before.get(list).and_then(Value::as_array);
        let new = spec.get_mut(list).and_then(Value::as_array_mut);
        for (new, old) in new.into_iter().flatten().zip(old.into_iter().flatten()) {
            reset(new, old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        reset(spec, before, field);
    }
    let grace = |spec: &Value| spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    if grace(before).is_some_and(|it| it < 0) && grace(spec) == Some(1) {
        reset(spec, before, "terminationGracePeriodSeconds");
    }
}

fn reset(new: &mut Value, old: &Value, field: &str) {
    let Some(fields) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => {
            fields.insert(field.to_owned(), value.clone());
        }
        None => {
            fields.remove(field);
        }
    }
}

// Pods that wait behind gates may be held to fewer nodes.
fn gated(spec: &mut Value, before: &Value, errors: &mut Errors) {
    let path = FieldPath::new("spec");
    if spec.get("nodeSelector") != before.get("nodeSelector") {
        let new = spec.get("nodeSelector").and_then(Value::as_object);
        let old = before.get("nodeSelector").and_then(Value::as_object);
        let kept =
            old.into_iter().flatten().all(|(key, value)| new.and_then(|new| new.get(key)) == Some(value));
        if !kept {
            let shown = spec.get("nodeSelector").cloned().unwrap_or_default();
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.child("nodeSelector"), shown, detail));
        }
        reset(spec, before, "nodeSelector");
    }
    let node = |spec: &Value| spec.get("affinity").and_then(|it| it.get("nodeAffinity")).cloned();
    let (new, old) = (node(spec), node(before));
    if new == old {
        return;
    }
    node_affinity(new.as_ref(), old.as_ref(), &path.child("affinity").child("nodeAffinity"), errors);
    let others = |spec: &Value| {
        let affinity = spec.get("affinity").and_then(Value::as_object);
        affinity.is_some_and(|it| it.keys().any(|key| key != "nodeAffinity"))
    };
    let Some(fields) = spec.as_object_mut() else { return };
    if before.get("affinity").is_none() && !others(&Value::Object(fields.clone())) {
        fields.remove("affinity");
        return;
    }
    let slot = fields.entry("affinity").or_insert_with(|| Value::Object(Map::new()));
    match (slot.as_object_mut(), old) {
        (Some(affinity), Some(old)) => {
            affinity.insert("nodeAffinity".to_owned(), old);
        }
        (Some(affinity), None) => {
            affinity.remove("nodeAffinity");
        }
        (None, _) => {}
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn node_affinity(new: Option<&Value>, old: Option<&Value>, path: &FieldPath, errors: &mut Errors) {
    let terms = |affinity: Option<&Value>| -> Vec<Value> {
        let terms = affinity.and_then(|it| it.get(REQUIRED)?.get("nodeSelectorTerms")?.as_array());
        terms.cloned().unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    if old.is_empty() {
        return;
    }
    if new.len() != old.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if new.is_empty() {
            "null".to_owned()
        } else {
            Internal::read().compact_list("NodeSelectorTerm", &new)
        };
        errors.push(FieldError::invalid(&path, new, detail).showing(shown));
        return;
    }
    for (index, (new, old)) in new.iter().zip(&old).enumerate() {
        if !only_adds(new, old) {
            let detail = "only additions are allowed (no mutations or deletions)";
            let shown = Internal::read().compact("NodeSelectorTerm", new);
            errors.push(FieldError::invalid(&path.index(index), new.clone(), detail).showing(shown));
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let list = |term: &Value, field: &str| -> Vec<Value> {
        term.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let fields = ["matchExpressions", "matchFields"];
    // A term without requirements matches nothing, so it cannot be narrowed.
    if fields.iter().all(|field| list(old, field).is_empty()) {
        return fields.iter().all(|field| list(new, field).is_empty());
    }
    fields.iter().all(|field| list(new, field).starts_with(&list(old, field)))
}
