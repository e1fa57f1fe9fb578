//! What an update keeps of the service that was there: values that were
//! allocated and left out now, and, the other way round, what goes with a type
//! that no longer needs it.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::Object;
use serde_json::{Map, Value, json};

use super::shape::{external, needs_cluster_ip, needs_health_check, needs_node_port, node_ports};
use crate::resources::tree::{list, number, objects_mut, section, text};

/// Takes over from `old` what was allocated and is not said now.
pub fn allocated(new: &mut Object, old: &Object) {
    let before = section(old, "spec").clone();
    let after = section(new, "spec").clone();
    let spec = new.section_mut("spec");
    if needs_cluster_ip(&before) && needs_cluster_ip(&after) {
        if text(&after["clusterIP"]).is_empty() {
            copy(&before, spec, "clusterIP");
        }
        if list(&after["clusterIPs"]).is_empty() {
            copy(&before, spec, "clusterIPs");
        }
    }
    if needs_node_port(&before) && needs_node_port(&after) {
        same_node_ports(&before, &after, spec);
    }
    if needs_health_check(&before) && needs_health_check(&after) && number(&after["healthCheckNodePort"]) == 0
    {
        copy(&before, spec, "healthCheckNodePort");
    }
}

fn copy(from: &Value, to: &mut Map<String, Value>, field: &str) {
    if let Some(value) = from.get(field) {
        to.insert(field.to_owned(), value.clone());
    }
}

// A port without a node port gets the one that the port of its name had.
fn same_node_ports(before: &Value, after: &Value, spec: &mut Map<String, Value>) {
    let old: BTreeSet<i64> = node_ports(before).into_iter().collect();
    let used: BTreeSet<i64> = node_ports(after).into_iter().filter(|port| old.contains(port)).collect();
    let by_name: BTreeMap<&str, i64> =
        list(&before["ports"]).iter().map(|it| (text(&it["name"]), number(&it["nodePort"]))).collect();
    for port in objects_mut(spec, "ports") {
        let name = port.get("name").map_or("", text);
        let had = by_name.get(name).copied().unwrap_or(0);
        if port.get("nodePort").map_or(0, number) == 0 && had != 0 && !used.contains(&had) {
            port.insert("nodePort".to_owned(), had.into());
        }
    }
}

/// Brings `clusterIP` and `clusterIPs` together: a client may know one only.
pub fn normalize(new: &mut Object, old: Option<&Object>) {
    let after = section(new, "spec").clone();
    let spec = new.section_mut("spec");
    let (ip, ips) = (text(&after["clusterIP"]), list(&after["clusterIPs"]));
    let Some(old) = old else {
        if !ip.is_empty() && ips.is_empty() {
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
        return;
    };
    let before = section(old, "spec");
    let (old_ip, old_ips) = (text(&before["clusterIP"]), list(&before["clusterIPs"]));
    if !old_ips.is_empty() && ips.is_empty() && old_ip == ip {
        spec.insert("clusterIPs".to_owned(), json!(old_ips));
    }
    if old_ip != ip && old_ips == ips {
        if !old_ip.is_empty() && ip.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
    }
}

/// Takes away the policy for traffic inside of the cluster from a name outside
/// of it. Upstream stores it, and never shows it.
pub fn drop_of_external_name(new: &mut Object) {
    let spec = section(new, "spec");
    let sound = ["Cluster", "Local"].contains(&text(&spec["internalTrafficPolicy"]));
    if sound && text(&spec["type"]) == "ExternalName" {
        new.section_mut("spec").remove("internalTrafficPolicy");
    }
}

/// Takes away what the new type has no use for, where the client did not
/// change it.
pub fn drop_by_type(new: &mut Object, old: &Object) {
    let before = section(old, "spec").clone();
    let after = section(new, "spec").clone();
    let same = |field: &str| before.get(field) == after.get(field);
    let spec = new.section_mut("spec");
    let mut gone: Vec<&str> = Vec::new();
    if needs_cluster_ip(&before) && !needs_cluster_ip(&after) {
        if same("clusterIP") && same("clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| same(field)));
    }
    let had: BTreeSet<i64> = node_ports(&before).into_iter().collect();
    if needs_node_port(&before)
        && !needs_node_port(&after)
        && node_ports(&after).iter().all(|port| had.contains(port))
    {
        for port in objects_mut(spec, "ports") {
            port.remove("nodePort");
        }
    }
    if needs_health_check(&before) && !needs_health_check(&after) && same("healthCheckNodePort") {
        gone.push("healthCheckNodePort");
    }
    let balanced = |spec: &Value| text(&spec["type"]) == "LoadBalancer";
    if balanced(&before) && !balanced(&after) {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        gone.extend(fields.into_iter().filter(|field| same(field)));
    }
    if external(&before) && !external(&after) && same("externalTrafficPolicy") {
        gone.push("externalTrafficPolicy");
    }
    for field in gone {
        spec.remove(field);
    }
    if !balanced(&after)
        && let Some(Value::Object(status)) = new.0.get_mut("status")
    {
        status.insert("loadBalancer".to_owned(), json!({}));
    }
}
