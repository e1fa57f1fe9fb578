//! Nodes.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, filled_or, show, wide},
    restore,
    tree::{entries, field, list, set, text, texts, truth},
    workloads::showing,
};

use super::{addresses, quantities};

/// The behaviour of nodes.
pub struct Nodes;

impl Strategy for Nodes {
    fn default(&self, object: &mut Object) {
        pair_cidrs(object);
        if let Some(Value::Object(status)) = object.0.get_mut("status") {
            quantities::to_milli(status, "capacity");
            quantities::to_milli(status, "allocatable");
        }
        if field(object, &["status", "allocatable"]).is_null() {
            let capacity = field(object, &["status", "capacity"]);
            if let Value::Object(capacity) = capacity.clone() {
                object.section_mut("status").insert("allocatable".to_owned(), Value::Object(capacity));
            }
        }
    }

    // A node's agent creates it with a status, and no generation counts.
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        // Behind InPlacePodVerticalScalingSchedulerPreemption, which is off.
        let policy = ["spec", "podPreemptionPolicy"];
        if old.is_none_or(|old| field(old, &policy).is_null())
            && let Some(Value::Object(spec)) = new.0.get_mut("spec")
        {
            spec.remove(policy[1]);
        }
        match (write.part, old) {
            (Part::Status, Some(old)) => {
                restore(new, old, "spec");
                if field(old, &["status", "config"]).is_null() {
                    new.section_mut("status").remove("config");
                }
            }
            (_, Some(old)) => restore(new, old, "status"),
            (_, None) => {
                new.section_mut("spec").remove("configSource");
                if let Some(Value::Object(status)) = new.0.get_mut("status") {
                    status.remove("config");
                }
            }
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        // A status update goes through the update rules alone.
        let mut errors = if write.part == Part::Status { Vec::new() } else { node(new) };
        if let Some(old) = old {
            errors.extend(update(new, old));
        }
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<String> {
        let mut warnings = Vec::new();
        if write.part == Part::Status {
            return warnings;
        }
        if set(field(new, &["spec", "configSource"])) {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !new.get_str(&["spec", "externalID"]).is_empty() {
            warnings
                .push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        let path = FieldPath::new("spec").child("podCIDRs");
        for (index, cidr) in texts(field(new, &["spec", "podCIDRs"])).into_iter().enumerate() {
            warnings.extend(addresses::cidr_warnings(&path.index(index), cidr));
        }
        warnings
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", truth(field(object, &["spec", "unschedulable"])).to_string())]
    }
}

// The first of the pod CIDRs stands alone too, where older clients look for it;
// what they say counts.
fn pair_cidrs(node: &mut Object) {
    let Some(Value::Object(spec)) = node.0.get_mut("spec") else { return };
    let first = spec.get("podCIDRs").and_then(|it| it.get(0)).cloned();
    match spec.get("podCIDR").filter(|it| set(it)).cloned() {
        Some(cidr) if first.as_ref() != Some(&cidr) => {
            drop(spec.insert("podCIDRs".to_owned(), json!([cidr])))
        }
        Some(_) => {}
        None => drop(first.and_then(|first| spec.insert("podCIDR".to_owned(), first))),
    }
}

fn node(new: &Object) -> Vec<FieldError> {
    let mut errors = taints(new);
    errors.extend(resources(new));
    let swap = field(new, &["status", "nodeInfo", "swap", "capacity"]);
    if swap.as_i64().is_some_and(|capacity| capacity <= 0) {
        let path = FieldPath::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.push(FieldError::invalid(&path, swap.clone(), "must be greater than zero"));
    }
    errors.extend(features(new));
    errors.extend(pod_cidrs(new));
    errors
}

fn update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = resources(new);
    errors.extend(features(new));
    let status = FieldPath::new("status");
    let addresses = list(field(new, &["status", "addresses"]));
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            errors.push(FieldError::duplicate(&status.child("addresses").index(index), address.clone()));
        }
    }
    let spec = FieldPath::new("spec");
    let (before, now) = (texts(field(old, &["spec", "podCIDRs"])), texts(field(new, &["spec", "podCIDRs"])));
    if !before.is_empty() {
        let changes = if before.len() == now.len() {
            before.iter().zip(&now).filter(|(before, now)| before != now).count()
        } else {
            1
        };
        for _ in 0..changes {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&spec.child("podCIDRs"), detail));
        }
    }
    let (before, now) = (old.get_str(&["spec", "providerID"]), new.get_str(&["spec", "providerID"]));
    if !before.is_empty() && before != now {
        let detail = if now.is_empty() {
            "field cannot be cleared once set"
        } else {
            "field cannot be modified once set"
        };
        errors.push(FieldError::invalid(&spec.child("providerID"), Value::Null, detail));
    }
    errors.extend(taints(new));
    if new.get_str(&["spec", "externalID"]) != old.get_str(&["spec", "externalID"]) {
        errors.push(FieldError::forbidden(&spec.child("externalID"), "may not be updated"));
    }
    errors
}

// Upstream reports these under `metadata`.
fn taints(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("metadata").child("taints");
    let taints = list(field(new, &["spec", "taints"]));
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
        for fault in format::qualified_name(key) {
            errors.push(FieldError::invalid(&path.child("key"), key, fault));
        }
        let faults = format::label_value(value);
        if !faults.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, faults.join(";")));
        }
        errors.extend(effect_fault(effect, &path.child("effect")));
        if !seen.insert((effect, key)) {
            let mut error = showing(FieldError::duplicate(&path, taint.clone()), "Taint", taint);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
    errors
}

fn effect_fault(effect: &str, path: &FieldPath) -> Option<FieldError> {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    match effect {
        "" => Some(FieldError::required(path, "")),
        effect if EFFECTS.contains(&effect) => None,
        effect => Some(FieldError::not_supported(path, effect, EFFECTS)),
    }
}

// Upstream joins the name of the resource with a dot here.
fn resources(new: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for part in ["capacity", "allocatable"] {
        let path = FieldPath::new("status").child(part);
        for (name, quantity) in entries(field(new, &["status", part])) {
            errors.extend(quantities::amount(name, text(quantity), &path.child(name)));
        }
    }
    errors
}

fn features(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("declaredFeatures");
    let names = texts(field(new, &["status", "declaredFeatures"]));
    let mut errors = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(fault) = feature_fault(name) {
            errors.push(FieldError::invalid(&path.index(index), *name, fault));
        }
        if let Some(next) = names.get(index + 1) {
            let path = path.index(index + 1);
            if name == next {
                errors.push(FieldError::duplicate(&path, *next));
            } else if name > next {
                errors.push(FieldError::invalid(&path, *next, "list must be sorted alphabetically"));
            }
        }
    }
    errors
}

fn feature_fault(name: &str) -> Option<String> {
    const MAX: usize = 253;
    if name.len() > MAX {
        return Some(format!("invalid feature name {name:?}: must be no more than {MAX} characters"));
    }
    let segment = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let upper = name.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase());
    let fits = upper && name.split('/').all(segment);
    (!fits).then(|| {
        format!(
            "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
        )
    })
}

fn pod_cidrs(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("podCIDRs");
    let cidrs = texts(field(new, &["spec", "podCIDRs"]));
    let mut errors = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        errors.extend(addresses::cidr(cidr, &path.index(index)));
    }
    if cidrs.len() > 1 {
        let families: Option<Vec<bool>> = cidrs.iter().map(|it| addresses::cidr_is_v6(it)).collect();
        if let Some((index, cidr)) =
            cidrs.iter().enumerate().find(|(_, cidr)| addresses::cidr_is_v6(cidr).is_none())
        {
            let detail = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR address: {cidr})"
            );
            errors.push(FieldError::internal(&path, detail));
        }
        let dual = families.is_some_and(|it| it.contains(&true) && it.contains(&false));
        if !dual || cidrs.len() > 2 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid(&path, field(new, &["spec", "podCIDRs"]).clone(), detail));
        }
    }
    errors
}

fn status(node: &Object) -> String {
    let conditions = list(field(node, &["status", "conditions"]));
    let ready = conditions.iter().rfind(|it| text(&it["type"]) == "Ready");
    let mut status = match ready.map(|it| text(&it["status"])) {
        None => "Unknown".to_owned(),
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if truth(field(node, &["spec", "unschedulable"])) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Object) -> String {
    let roles: BTreeSet<&str> = node
        .labels()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then_some(value),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address(node: &Object, kind: &str) -> String {
    let addresses = list(field(node, &["status", "addresses"]));
    let found = addresses.iter().find(|it| text(&it["type"]) == kind);
    found.map_or("<none>", |it| text(&it["address"])).to_owned()
}

fn kernel(node: &Object) -> Value {
    let version = filled_or(node, &["status", "nodeInfo", "kernelVersion"], "<unknown>");
    match node.get_str(&["status", "nodeInfo", "architecture"]) {
        "" => version,
        architecture => format!("{} ({architecture})", text(&version)).into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", "string", "The status of the node", |it, _| status(it).into()),
    Column::new("Roles", "string", "The roles of the node", |it, _| roles(it).into()),
    AGE,
    Column::new("Version", "string", "Kubelet Version reported by the node.", |it, _| {
        show(it, &["status", "nodeInfo", "kubeletVersion"])
    }),
    wide(Column::new(
        "Internal-IP",
        "string",
        "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).",
        |it, _| address(it, "InternalIP").into(),
    )),
    wide(Column::new(
        "External-IP",
        "string",
        "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).",
        |it, _| address(it, "ExternalIP").into(),
    )),
    wide(Column::new(
        "OS-Image",
        "string",
        "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
        |it, _| filled_or(it, &["status", "nodeInfo", "osImage"], "<unknown>"),
    )),
    wide(Column::new(
        "Kernel-Version",
        "string",
        "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
        |it, _| kernel(it),
    )),
    wide(Column::new(
        "Container-Runtime",
        "string",
        "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
        |it, _| filled_or(it, &["status", "nodeInfo", "containerRuntimeVersion"], "<unknown>"),
    )),
];
