//! What the server itself sets in pods on a write, and what it takes back.

use coracle_api::Object;
use serde_json::{Map, Value, json};

use super::{annotations, disabled, level, resources};
use crate::resources::{Write, meta, restore};

/// A new pod.
pub fn create(write: &Write<'_>, pod: &mut Object) {
    pod.set_meta("generation", Some(1.into()));
    let mut status = Map::from_iter([("phase".to_owned(), "Pending".into())]);
    let spec = pod.0.get("spec").cloned().unwrap_or_default();
    if spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": seconds(write.now),
        });
        status.insert("conditions".to_owned(), json!([condition]));
    }
    disabled::drop(pod, None);
    let labels: Map<String, Value> =
        pod.meta("labels").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(spec) = pod.0.get_mut("spec") {
        merge_label_keys(spec, &labels);
    }
    app_armor(pod);
    level::defaults(pod);
    status.insert("qosClass".to_owned(), resources::quality(pod).into());
    pod.0.insert("status".to_owned(), Value::Object(status));
}

/// RFC 3339 with whole seconds, as `metav1.Time` is.
pub fn seconds(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An update of the pod itself.
pub fn update(new: &mut Object, old: &Object) {
    restore(new, old, "status");
    keep_resources(new, old);
    disabled::drop(new, Some(old));
    count(new, old);
}

/// `/status`: the spec stays, and what old kubelets do not know of.
pub fn status(new: &mut Object, old: &Object) {
    restore(new, old, "spec");
    new.set_meta("generation", old.meta("generation").cloned());
    new.set_meta("deletionTimestamp", old.meta("deletionTimestamp").cloned());
    new.set_meta("ownerReferences", old.meta("ownerReferences").cloned());
    let before = old.0.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let status = new.section_mut("status");
    for field in [
        "qosClass",
        "resourceClaimStatuses",
        "extendedResourceClaimStatus",
        "nodeAllocatableResourceClaimStatuses",
        "observedGeneration",
    ] {
        if let Some(value) = before.get(field).filter(|_| status.get(field).is_none_or(is_zero)) {
            status.insert(field.to_owned(), value.clone());
        }
    }
    condition_generations(status, &before);
    disabled::drop_status(new, Some(old));
}

fn is_zero(value: &Value) -> bool {
    value.is_null() || value == 0 || value == ""
}

// Conditions of one type may be several; each takes the next one's generation.
fn condition_generations(status: &mut Map<String, Value>, before: &Map<String, Value>) {
    let mut old: Vec<&Value> = match before.get("conditions").and_then(Value::as_array) {
        Some(list) => list.iter().collect(),
        None => return,
    };
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(index) = old.iter().position(|it| it.get("type") == condition.get("type")) else { continue };
        let generation = old.remove(index).get("observedGeneration");
        if let Some(generation) =
            generation.filter(|_| condition.get("observedGeneration").is_none_or(is_zero))
        {
            condition.insert("observedGeneration".to_owned(), generation.clone());
        }
    }
}

/// `/ephemeralcontainers`: nothing else changes.
pub fn ephemeral_containers(new: &mut Object, old: &Object) {
    let containers = new.get(&["spec", "ephemeralContainers"]).cloned();
    restore(new, old, "spec");
    restore(new, old, "status");
    meta::keep(new, old);
    put(new.section_mut("spec"), "ephemeralContainers", containers);
    disabled::drop(new, Some(old));
    count(new, old);
}

/// `/resize`: only resources and resize policies change. Where containers do
/// not match, validation says so.
pub fn resize(new: &mut Object, old: &Object) {
    let list = |pod: &Object, field: &str| -> Vec<Value> {
        pod.get(&["spec", field]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let fields = ["containers", "initContainers"];
    if fields.iter().all(|field| list(new, field).len() == list(old, field).len()) {
        let resized = fields.map(|field| resized(list(new, field), list(old, field)));
        let own = new.get(&["spec", "resources"]).cloned();
        restore(new, old, "spec");
        restore(new, old, "status");
        meta::keep(new, old);
        let spec = new.section_mut("spec");
        put(spec, "resources", own);
        for (field, containers) in fields.into_iter().zip(resized) {
            put(spec, field, (!containers.is_empty()).then_some(Value::Array(containers)));
        }
    }
    keep_resources(new, old);
    level::defaults(new);
    disabled::drop(new, Some(old));
    count(new, old);
}

fn resized(new: Vec<Value>, old: Vec<Value>) -> Vec<Value> {
    if new.iter().zip(&old).any(|(new, old)| new["name"] != old["name"]) {
        return new;
    }
    let merge = |(new, old): (&Value, Value)| {
        let mut merged = old;
        if let Some(fields) = merged.as_object_mut() {
            for field in ["resources", "resizePolicy"] {
                put(fields, field, new.get(field).cloned());
            }
        }
        merged
    };
    new.iter().zip(old).map(merge).collect()
}

fn put(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            fields.insert(field.to_owned(), value);
        }
        None => {
            fields.remove(field);
        }
    }
}

// A client that does not know pods' own resources does not take them away.
fn keep_resources(new: &mut Object, old: &Object) {
    let before = old.get(&["spec", "resources"]).cloned();
    if new.get(&["spec", "resources"]).is_none() && before.is_some() {
        put(new.section_mut("spec"), "resources", before);
    }
}

fn count(new: &mut Object, old: &Object) {
    let more = i64::from(new.0.get("spec") != old.0.get("spec"));
    let generation = old.generation() + more;
    new.set_meta("generation", (generation != 0).then(|| generation.into()));
}

// Label keys become requirements on the values that the pod has.
fn merge_label_keys(spec: &mut Value, labels: &Map<String, Value>) {
    for field in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|it| it.get_mut(field)) else { continue };
        for term in items(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                merge_into(term, labels);
            }
        }
        items(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
            .for_each(|term| merge_into(term, labels));
    }
    items(spec, "topologySpreadConstraints").for_each(|spread| merge_into(spread, labels));
}

fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn merge_into(term: &mut Value, labels: &Map<String, Value>) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.get(field).and_then(Value::as_array).into_iter().flatten() {
            if let Some(value) = key.as_str().and_then(|key| labels.get(key)) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    let Some(selector) = selector.filter(|_| !added.is_empty()) else { return };
    let slot = selector.entry("matchExpressions").or_insert_with(|| json!([]));
    if let Some(list) = slot.as_array_mut() {
        list.extend(added);
    }
}

// Old annotations become fields, where they say something else than the pod.
fn app_armor(pod: &mut Object) {
    if pod.get_str(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let own = pod.get(&["spec", "securityContext", "appArmorProfile"]).cloned();
    let annotated: Vec<(String, Value)> = pod
        .annotations()
        .filter_map(|(key, profile)| {
            let profile = app_armor_profile(profile)?;
            Some((key.strip_prefix(annotations::APP_ARMOR)?.to_owned(), profile))
        })
        .collect();
    if annotated.is_empty() {
        return;
    }
    let Some(spec) = pod.0.get_mut("spec") else { return };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list).filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let Some((_, profile)) = annotated.iter().find(|(key, _)| key == name) else { continue };
            let has = container.get("securityContext").is_some_and(|it| it.get("appArmorProfile").is_some());
            if has || own.as_ref() == Some(profile) {
                continue;
            }
            let slot = container.entry("securityContext").or_insert_with(|| json!({}));
            if let Some(context) = slot.as_object_mut() {
                context.insert("appArmorProfile".to_owned(), profile.clone());
            }
        }
    }
}

/// The profile that an AppArmor annotation means.
pub fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let local = other.strip_prefix("localhost/").filter(|it| !it.is_empty() && it.trim() == *it)?;
            Some(json!({"type": "Localhost", "localhostProfile": local}))
        }
    }
}
