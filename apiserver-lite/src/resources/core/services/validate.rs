//! What a service must be.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use super::shape::{NONE, external, headless, needs_health_check};
use crate::resources::{
    core::{
        addresses,
        endpoints::{PROTOCOLS, name_where_many, port_number},
    },
    meta,
    rules::{self, Check, Errors, Place, Rule},
    tree::{field, list, number, section, set, text, texts},
    workloads::showing,
};

const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// The families that addresses may be of.
pub const FAMILIES: &[&str] = &["IPv4", "IPv6"];

/// All rules but those about what an update may change.
pub fn service(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = topology(new).into_iter().collect();
    let spec = section(new, "spec");
    errors.extend(by_type(spec));
    errors.extend(rules::validate(&[Check::Within("spec", SPEC)], new, None));
    errors.extend(cluster_ips(new, old));
    errors.extend(external_ips(new, old));
    errors.extend(rules::validate(&[Check::Within("spec", TYPE)], new, None));
    errors.extend(ports(spec));
    errors.extend(sources(new, old));
    errors.extend(balancer(spec));
    errors.extend(traffic(spec));
    errors
}

fn path(name: &str) -> FieldPath {
    FieldPath::new("spec").child(name)
}

fn topology(new: &Object) -> Option<FieldError> {
    const MODE: &str = "service.kubernetes.io/topology-mode";
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (mode, hints) = (new.annotation(MODE)?, new.annotation(HINTS)?);
    (mode != hints).then(|| {
        let path = FieldPath::new("metadata").child("annotations").key(MODE);
        FieldError::invalid(&path, mode, format!("must match annotations[{HINTS}] when both are specified"))
    })
}

fn by_type(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(&spec["type"]);
    if list(&spec["ports"]).is_empty() && !headless(spec) && kind != "ExternalName" {
        errors.push(FieldError::required(&path("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(&path("clusterIPs").index(0), NONE, detail));
        }
        "ExternalName" => {
            const DETAIL: &str = "may not be set for ExternalName services";
            for name in ["clusterIPs", "ipFamilies"] {
                if !list(&spec[name]).is_empty() {
                    errors.push(FieldError::forbidden(&path(name), DETAIL));
                }
            }
            if set(&spec["ipFamilyPolicy"]) {
                errors.push(FieldError::forbidden(&path("ipFamilyPolicy"), DETAIL));
            }
            let given = text(&spec["externalName"]);
            let name = given.strip_suffix('.').unwrap_or(given);
            let path = path("externalName");
            if name.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                let faults = format::dns1123_subdomain(name);
                errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
            }
        }
        _ => {}
    }
    errors
}

static SPEC: &[Check] = &[
    Check::Each("ports", PORT),
    Check::With(same_port_name),
    Check::With(|spec, errors| {
        if let Some(labels) = spec.field("selector") {
            meta::validate_labels(&labels, errors);
        }
    }),
    Check::Field("sessionAffinity", &[Rule::Required(""), Rule::OneOf(&["ClientIP", "None"])]),
    Check::With(affinity),
];

static TYPE: &[Check] = &[Check::Field(
    "type",
    &[Rule::Required(""), Rule::OneOf(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"])],
)];

static PORT: &[Check] = &[
    Check::With(name_where_many),
    Check::Field("name", &[Rule::Format(format::dns1123_label)]),
    Check::With(port_number),
    Check::Field("protocol", &[Rule::Required(""), Rule::OneOf(PROTOCOLS)]),
    Check::With(|port, errors| target_port(port, "targetPort", errors)),
    Check::Field("appProtocol", &[Rule::Format(format::qualified_name)]),
];

/// A port's number or name.
pub fn target_port(port: &Place<'_>, name: &str, errors: &mut Errors) {
    let value = port.get(name).unwrap_or(&Value::Null);
    let faults = match value {
        Value::String(name) => format::port_name(name),
        value => format::port_number(number(value)),
    };
    let shown = if value.is_null() { Value::from(0) } else { value.clone() };
    errors.extend(faults.into_iter().map(|it| FieldError::invalid(&port.path_of(name), shown.clone(), it)));
}

fn same_port_name(spec: &Place<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, port) in spec.list("ports").iter().enumerate() {
        let name = text(&port["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&spec.path_of("ports").index(index).child("name"), name));
        }
    }
}

fn affinity(spec: &Place<'_>, errors: &mut Errors) {
    const MOST: i64 = 24 * 60 * 60;
    let path = spec.path_of("sessionAffinityConfig");
    let config = spec.get("sessionAffinityConfig").unwrap_or(&Value::Null);
    match spec.text("sessionAffinity") {
        "None" if set(config) => {
            errors.push(FieldError::forbidden(&path, "must not be set when session affinity is None"));
        }
        "ClientIP" => {
            const DETAIL: &str = "when session affinity type is ClientIP";
            let client = path.child("clientIP");
            let timeout = &config["clientIP"]["timeoutSeconds"];
            if config.is_null() {
                errors.push(FieldError::required(&path, DETAIL));
            } else if config["clientIP"].is_null() {
                errors.push(FieldError::required(&client, DETAIL));
            } else if timeout.is_null() {
                errors.push(FieldError::required(&client.child("timeoutSeconds"), DETAIL));
            } else if !(1..=MOST).contains(&number(timeout)) {
                let detail = format!("must be greater than 0 and less than {MOST}");
                errors.push(FieldError::invalid(&client.child("timeoutSeconds"), timeout.clone(), detail));
            }
        }
        _ => {}
    }
}

/// The rules of cluster addresses and their families.
pub fn cluster_ips(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let spec = section(new, "spec");
    let mut errors = Vec::new();
    if text(&spec["type"]) == "ExternalName" {
        return errors;
    }
    let ips = texts(&spec["clusterIPs"]);
    let invalid = |detail: &str| FieldError::invalid(&path("clusterIPs"), spec["clusterIPs"].clone(), detail);
    match (text(&spec["clusterIP"]), ips.first()) {
        ("", Some(_)) => errors.push(invalid("must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(&path("clusterIPs"), "")),
        (ip, Some(first)) if ip != *first => errors.push(invalid("first value must match `clusterIP`")),
        _ => {}
    }
    let families = texts(&spec["ipFamilies"]);
    for (index, family) in families.iter().enumerate() {
        let path = path("ipFamilies").index(index);
        if !FAMILIES.contains(family) {
            errors.push(FieldError::not_supported(&path, *family, FAMILIES));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(&path, *family));
        }
    }
    let policy = text(&spec["ipFamilyPolicy"]);
    if set(&spec["ipFamilyPolicy"]) && !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(&path("ipFamilyPolicy"), policy, POLICIES));
    }
    let known = old.map(|old| texts(field(old, &["spec", "clusterIPs"]))).unwrap_or_default();
    let mut wrong = false;
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == NONE {
            if ips.len() > 1 {
                wrong = true;
                errors.push(invalid("'None' must be the first and only value"));
            }
            continue;
        }
        if !known.contains(ip) {
            let faults = addresses::ip(ip, &path("clusterIPs").index(index));
            wrong |= !faults.is_empty();
            errors.extend(faults);
        }
    }
    if ips.len() > 2 {
        errors.push(invalid("may only hold up to 2 values"));
    }
    if wrong {
        return errors;
    }
    let six: Vec<bool> = ips.iter().map(|ip| addresses::is_v6(ip)).collect();
    if ips.len() > 1 && !(six.contains(&true) && six.contains(&false)) {
        errors.push(invalid("may specify no more than one IP for each IP family"));
    }
    if !headless(spec) {
        for (index, (ip, family)) in ips.iter().zip(&families).enumerate() {
            if FAMILIES.contains(family) && (*family == "IPv6") != six[index] {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
                errors.push(FieldError::invalid(&path("clusterIPs").index(index), *ip, detail));
            }
        }
    }
    errors
}

fn external_ips(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let known = old.map(|old| texts(field(old, &["spec", "externalIPs"]))).unwrap_or_default();
    let mut errors = Vec::new();
    for (index, ip) in texts(field(new, &["spec", "externalIPs"])).into_iter().enumerate() {
        let path = path("externalIPs").index(index);
        let faults = if known.contains(&ip) { Vec::new() } else { addresses::ip(ip, &path) };
        errors.extend(if faults.is_empty() { addresses::endpoint_ip(ip, &path) } else { faults });
    }
    errors
}

fn ports(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let ports = list(&spec["ports"]);
    if text(&spec["type"]) == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| number(&port["nodePort"]) != 0) {
            let path = path("ports").index(index).child("nodePort");
            errors.push(FieldError::forbidden(&path, "may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let number = number(&port["nodePort"]);
        if number != 0 && !seen.insert((text(&port["protocol"]), number)) {
            errors.push(FieldError::duplicate(&path("ports").index(index).child("nodePort"), number));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !seen.insert((text(&port["protocol"]), number(&port["port"]))) {
            // Upstream shows a port with these two fields alone.
            let shown =
                serde_json::json!({"protocol": port["protocol"], "port": port["port"], "targetPort": 0});
            let error = FieldError::duplicate(&path("ports").index(index), shown.clone());
            errors.push(showing(error, "ServicePort", &shown));
        }
    }
    errors
}

fn sources(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = section(new, "spec");
    let balanced = text(&spec["type"]) == "LoadBalancer";
    let mut errors = Vec::new();
    let ranges = texts(&spec["loadBalancerSourceRanges"]);
    if !ranges.is_empty() {
        // Upstream's own spelling.
        let path = path("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(FieldError::forbidden(&path, BALANCED_ONLY));
        }
        let known =
            old.map(|old| texts(field(old, &["spec", "loadBalancerSourceRanges"]))).unwrap_or_default();
        let known: Vec<&str> = known.into_iter().map(str::trim).collect();
        for (index, range) in ranges.into_iter().map(str::trim).enumerate() {
            if !known.contains(&range) {
                errors.extend(addresses::cidr(range, &path.index(index)));
            }
        }
    } else if let Some(ranges) = new.annotation(SOURCES) {
        let path = FieldPath::new("metadata").child("annotations").key(SOURCES);
        if !balanced {
            errors.push(FieldError::forbidden(&path, BALANCED_ONLY));
        }
        let known = old.and_then(|old| old.annotation(SOURCES)) == Some(ranges);
        if !known && !ranges.trim().is_empty() {
            for range in ranges.trim().split(',') {
                errors.extend(addresses::cidr(range.trim(), &path));
            }
        }
    }
    errors
}

fn balancer(spec: &Value) -> Vec<FieldError> {
    let balanced = text(&spec["type"]) == "LoadBalancer";
    let mut errors = Vec::new();
    match (balanced, set(&spec["allocateLoadBalancerNodePorts"])) {
        (false, true) => {
            errors.push(FieldError::forbidden(&path("allocateLoadBalancerNodePorts"), BALANCED_ONLY))
        }
        (true, false) => {
            errors.push(FieldError::required(&FieldPath::new("allocateLoadBalancerNodePorts"), ""))
        }
        _ => {}
    }
    errors.extend(balancer_class(spec));
    errors
}

/// The rules of a load balancer's class.
pub fn balancer_class(spec: &Value) -> Vec<FieldError> {
    let path = path("loadBalancerClass");
    let Some(class) = spec["loadBalancerClass"].as_str() else { return Vec::new() };
    if text(&spec["type"]) != "LoadBalancer" {
        return vec![FieldError::forbidden(&path, BALANCED_ONLY)];
    }
    let faults = format::qualified_name(class);
    faults.into_iter().map(|fault| FieldError::invalid(&path, class, fault)).collect()
}

fn traffic(spec: &Value) -> Vec<FieldError> {
    const WHERE: &[&str] = &["Cluster", "Local"];
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    let mut errors = Vec::new();
    let policy = text(&spec["externalTrafficPolicy"]);
    let at = path("externalTrafficPolicy");
    match (external(spec), policy) {
        (false, "") => {}
        (false, policy) => {
            errors.push(FieldError::invalid(
                &at,
                policy,
                "may only be set for externally-accessible services",
            ));
        }
        (true, "") => errors.push(FieldError::required(&at, "")),
        (true, policy) if !WHERE.contains(&policy) => {
            errors.push(FieldError::not_supported(&at, policy, WHERE))
        }
        _ => {}
    }
    let port = number(&spec["healthCheckNodePort"]);
    let at = path("healthCheckNodePort");
    if needs_health_check(spec) {
        if port == 0 {
            errors.push(FieldError::required(&at, ""));
        } else {
            let faults = format::port_number(port);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, port, fault)));
        }
    } else if port != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&at, port, detail));
    }
    let policy = &spec["internalTrafficPolicy"];
    let at = path("internalTrafficPolicy");
    if policy.is_null() && ["NodePort", "LoadBalancer", "ClusterIP"].contains(&text(&spec["type"])) {
        errors.push(FieldError::required(&at, ""));
    }
    if set(policy) && !WHERE.contains(&text(policy)) {
        errors.push(FieldError::not_supported(&at, policy.clone(), WHERE));
    }
    let distribution = &spec["trafficDistribution"];
    if set(distribution) && !DISTRIBUTIONS.contains(&text(distribution)) {
        errors.push(FieldError::not_supported(
            &path("trafficDistribution"),
            distribution.clone(),
            DISTRIBUTIONS,
        ));
    }
    errors
}

/// The rules of a service's status.
pub fn status(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const MODES: &[&str] = &["Proxy", "VIP"];
    let path = FieldPath::new("status").child("loadBalancer").child("ingress");
    let ingress = list(field(new, &["status", "loadBalancer", "ingress"]));
    if text(field(new, &["spec", "type"])) != "LoadBalancer" && !ingress.is_empty() {
        return vec![FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let known = old.map(|old| list(field(old, &["status", "loadBalancer", "ingress"]))).unwrap_or_default();
    let mut errors = Vec::new();
    for (index, point) in ingress.iter().enumerate() {
        let path = path.index(index);
        let (ip, mode, host) = (text(&point["ip"]), &point["ipMode"], text(&point["hostname"]));
        if !ip.is_empty() && !known.iter().any(|it| text(&it["ip"]) == ip) {
            errors.extend(addresses::ip(ip, &path.child("ip")));
        }
        let at = path.child("ipMode");
        match (ip.is_empty(), mode.as_str()) {
            (false, None) => errors.push(FieldError::required(&at, "must be specified when `ip` is set")),
            (true, Some(_)) => {
                errors.push(FieldError::forbidden(&at, "may not be specified when `ip` is not set"));
            }
            (false, Some(mode)) if !MODES.contains(&mode) => {
                errors.push(FieldError::not_supported(&at, mode, MODES));
            }
            _ => {}
        }
        let at = path.child("hostname");
        if !host.is_empty() {
            let faults = format::dns1123_subdomain(host);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, host, fault)));
            if addresses::lenient_ip(host).is_some() {
                errors.push(FieldError::invalid(&at, host, "must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}
