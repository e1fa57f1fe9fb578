//! What is let pass and yet told to the client, about pods and templates.

use std::collections::{HashMap, HashSet};

use coracle_api::{FieldPath, Object, field::go_quote, format};
use serde_json::{Map, Value};

use super::{annotations, containers, overlaps, prepare, resources};
use crate::resources::rules::Place;

/// About a pod that is made.
pub fn of_new_pod(pod: &Object) -> Vec<String> {
    let mut out = of_app_armor(pod);
    out.extend(of_name(pod.name(), "this is used in the Pod's hostname"));
    let object = Place::object(pod, None);
    if let Some(spec) = object.field("spec") {
        let annotations = annotations::of(object.get("metadata"));
        out.extend(all(&spec, annotations, &FieldPath::new("metadata.annotations"), false));
    }
    out
}

/// About a template at `path`.
pub fn of_template(path: &str, template: &Value) -> Vec<String> {
    let template = Place::at(path, template, None);
    let Some(spec) = template.field("spec") else { return Vec::new() };
    let annotations = annotations::of(template.get("metadata"));
    let path = template.path_of("metadata").child("annotations");
    all(&spec, annotations, &path, true)
}

/// About a name from which names of pods and hosts are made.
pub fn of_name(name: &str, used: &str) -> Option<String> {
    let faults = format::dns1123_label(name);
    (!faults.is_empty()).then(|| {
        let faults = faults.join(" ");
        format!("metadata.name: {used}, which can result in surprising behavior; a DNS label is recommended: [{faults}]")
    })
}

/// About the addresses in a status.
pub fn of_status(pod: &Object) -> Vec<String> {
    let mut out = Vec::new();
    for list in ["podIPs", "hostIPs"] {
        let ips = pod.get(&["status", list]).and_then(Value::as_array);
        for (index, ip) in ips.into_iter().flatten().enumerate() {
            let path = FieldPath::new("status").child(list).index(index).child("ip");
            out.extend(of_ip(&path, ip["ip"].as_str().unwrap_or_default()));
        }
    }
    out
}

// Annotations that became fields: upstream warns where it copies them.
fn of_app_armor(pod: &Object) -> Vec<String> {
    let mut out = Vec::new();
    if pod.get_str(&["spec", "os", "name"]) == "windows" {
        return out;
    }
    let own = pod.get(&["spec", "securityContext", "appArmorProfile"]);
    let object = Place::object(pod, None);
    let Some(spec) = object.field("spec") else { return out };
    containers::visit(&spec, |container| {
        let key = format!("{}{}", annotations::APP_ARMOR, container.text("name"));
        let Some(annotation) = pod.annotation(&key) else { return };
        let profile = prepare::app_armor_profile(annotation);
        let field = container.get("securityContext").and_then(|it| it.get("appArmorProfile"));
        // Only what the annotation set itself is not the user's.
        let copied = field.is_none() || field == profile.as_ref();
        if copied && (profile.is_none() || profile.as_ref() != own) {
            let path = FieldPath::new("metadata.annotations").key(&key);
            out.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
        }
    });
    out
}

const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

// A volume's field, how the path names it, and what became of it.
const VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
];

// These come after what is said of claims.
const CEPH: &[(&str, &str, &str)] = &[
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn all(
    spec: &Place<'_>,
    annotations: Option<&Map<String, Value>>,
    path: &FieldPath,
    template: bool,
) -> Vec<String> {
    let mut out = Vec::new();
    labels(spec, &mut out);
    let annotated = |key: &str| annotations.is_some_and(|all| all.contains_key(key));
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| annotated(key)) {
        out.push(format!("{}: {message}", path.key(key)));
    }
    if let Some(volumes) = spec.field("volumes") {
        volumes.items().for_each(|volume| of_volume(&volume, &mut out));
    }
    out.extend(overlaps::of(spec.list("volumes")));
    repeated(spec, "hostAliases", "ip", &mut out);
    repeated(spec, "imagePullSecrets", "name", &mut out);
    if let Some(secrets) = spec.field("imagePullSecrets") {
        for secret in secrets.items().filter(|secret| secret.text("name").is_empty()) {
            out.push(format!("{}: invalid empty name \"\"", secret.path_of("name")));
        }
    }
    fractions(spec, "overhead", &spec.path_of("overhead"), &mut out);
    let context =
        |place: &Place<'_>, field: &str| place.get("securityContext").and_then(|it| it.get(field)).cloned();
    let seccomp = |key: &str| {
        format!("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead", path.key(key))
    };
    if context(spec, "seccompProfile").is_none() && annotated(annotations::SECCOMP) {
        out.push(seccomp(annotations::SECCOMP));
    }
    let own = context(spec, "appArmorProfile");
    containers::visit(spec, |container| {
        let key = format!("{}{}", annotations::SECCOMP_CONTAINER, container.text("name"));
        if context(container, "seccompProfile").is_none() && annotated(&key) {
            out.push(seccomp(&key));
        }
        let key = format!("{}{}", annotations::APP_ARMOR, container.text("name"));
        let annotation = annotations.and_then(|all| all.get(&key)?.as_str());
        let unfielded = template && context(container, "appArmorProfile").is_none();
        let differs = |annotation: &&str| own.is_none() || own != prepare::app_armor_profile(annotation);
        if annotation.filter(|_| unfielded).filter(differs).is_some() {
            let path = path.key(&key);
            out.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
        }
        of_container(container, &mut out);
    });
    ports(spec, &mut out);
    if spec.number("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = spec.path_of("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    selectors(spec, &mut out);
    addresses(spec, &mut out);
    out
}

/// What became of a label of nodes.
pub fn node_label(key: &str) -> Option<&'static str> {
    match key {
        "beta.kubernetes.io/arch" => Some("deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
        "beta.kubernetes.io/os" => Some("deprecated since v1.14; use \"kubernetes.io/os\" instead"),
        "failure-domain.beta.kubernetes.io/region" => {
            Some("deprecated since v1.17; use \"topology.kubernetes.io/region\" instead")
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            Some("deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead")
        }
        "beta.kubernetes.io/instance-type" => {
            Some("deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead")
        }
        "app.kubernetes.io/created-by" => Some("deprecated since v1.9"),
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => {
            Some("deprecated since v1.22; use Taints and Tolerations instead")
        }
        "node-role.kubernetes.io/master" => Some("use \"node-role.kubernetes.io/control-plane\" instead"),
        _ => None,
    }
}

fn labels(spec: &Place<'_>, out: &mut Vec<String>) {
    for (key, _) in spec.entries("nodeSelector") {
        if let Some(message) = node_label(key) {
            out.push(format!("{}: {message}", spec.path_of("nodeSelector").key(key)));
        }
    }
    let affinity = spec.field("affinity");
    if let Some(node) = affinity.as_ref().and_then(|it| it.field("nodeAffinity")) {
        let required = node.field("requiredDuringSchedulingIgnoredDuringExecution");
        if let Some(terms) = required.as_ref().and_then(|it| it.field("nodeSelectorTerms")) {
            terms.items().for_each(|term| of_term(&term, false, out));
        }
        if let Some(preferred) = node.field("preferredDuringSchedulingIgnoredDuringExecution") {
            for term in preferred.items() {
                if let Some(preference) = term.field("preference") {
                    of_term(&preference, true, out);
                }
            }
        }
    }
    let Some(spreads) = spec.field("topologySpreadConstraints") else { return };
    for spread in spreads.items() {
        let key = spread.text("topologyKey");
        if let Some(message) = node_label(key) {
            out.push(format!("{}: {key} is {message}", spread.path_of("topologyKey")));
        }
        null_selector(&spread, out);
    }
}

fn of_term(term: &Place<'_>, values: bool, out: &mut Vec<String>) {
    let Some(list) = term.field("matchExpressions") else { return };
    for requirement in list.items() {
        let key = requirement.text("key");
        if let Some(message) = node_label(key) {
            out.push(format!("{}: {key} is {message}", requirement.path_of("key")));
        }
        for (index, value) in requirement.texts("values").enumerate().filter(|_| values) {
            let path = requirement.path_of("values").index(index);
            let faults = format::label_value(value).into_iter();
            out.extend(faults.map(|fault| format!("{path}: {value} is invalid, {fault}")));
        }
    }
}

fn null_selector(place: &Place<'_>, out: &mut Vec<String>) {
    if !place.has("labelSelector") {
        let path = place.path_of("labelSelector");
        out.push(format!("{path}: a null labelSelector results in matching no pod"));
    }
}

fn selectors(spec: &Place<'_>, out: &mut Vec<String>) {
    let Some(affinity) = spec.field("affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = affinity.field(kind) else { continue };
        if let Some(terms) = affinity.field("requiredDuringSchedulingIgnoredDuringExecution") {
            terms.items().for_each(|term| null_selector(&term, out));
        }
        if let Some(terms) = affinity.field("preferredDuringSchedulingIgnoredDuringExecution") {
            for term in terms.items() {
                if let Some(term) = term.field("podAffinityTerm") {
                    null_selector(&term, out);
                }
            }
        }
    }
}

fn of_volume(volume: &Place<'_>, out: &mut Vec<String>) {
    gone(volume, VOLUMES, out);
    if let Some(claim) = volume.field("ephemeral").as_ref().and_then(|it| it.get("volumeClaimTemplate")) {
        let path = volume.path_of("ephemeral").child("volumeClaimTemplate").child("spec").child("resources");
        for kind in ["requests", "limits"] {
            let amount = claim["spec"]["resources"].get(kind).and_then(|it| it.get("storage"));
            out.extend(amount.and_then(|amount| fraction(amount, &path.child(kind).key("storage"))));
        }
    }
    gone(volume, CEPH, out);
}

fn gone(volume: &Place<'_>, table: &[(&str, &str, &str)], out: &mut Vec<String>) {
    for (_, shown, message) in table.iter().filter(|(field, ..)| volume.has(field)) {
        out.push(format!("{}: {message}", volume.path_of(shown)));
    }
}

fn fraction(amount: &Value, path: &FieldPath) -> Option<String> {
    let amount = resources::quantity(amount);
    let shown = go_quote(&amount.to_string());
    (amount.milli_value() % 1000 != 0)
        .then(|| format!("{path}: fractional byte value {shown} is invalid, must be an integer"))
}

fn fractions(place: &Place<'_>, list: &str, path: &FieldPath, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let amount = place.get(list).and_then(|list| list.get(name));
        out.extend(amount.and_then(|amount| fraction(amount, &path.key(name))));
    }
}

fn repeated(spec: &Place<'_>, list: &str, field: &str, out: &mut Vec<String>) {
    let Some(list) = spec.field(list) else { return };
    let mut seen = HashSet::new();
    for item in list.items() {
        let value = item.text(field);
        if !seen.insert(value.to_owned()) {
            out.push(format!("{}: duplicate {field} {}", item.path_of(field), go_quote(value)));
        }
    }
}

fn of_container(container: &Place<'_>, out: &mut Vec<String>) {
    if let Some(own) = container.field("resources") {
        for name in ["memory", "ephemeral-storage"] {
            for kind in ["limits", "requests"] {
                let amount = own.get(kind).and_then(|list| list.get(name));
                out.extend(amount.and_then(|amount| fraction(amount, &own.path_of(kind).key(name))));
            }
        }
    }
    let Some(env) = container.field("env") else { return };
    let mut seen = HashSet::new();
    for variable in env.items() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if seen.insert(name.to_owned()) {
            continue;
        }
        // One that builds on the older one is fine.
        let reference = format!("$({name})");
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            let name = go_quote(name);
            out.push(format!(
                "{}: hides previous definition of {name}, which may be dropped when using apply",
                variable.path()
            ));
        }
    }
}

// One port of a container, as far as ports can be in each other's way.
struct Port {
    path: FieldPath,
    host_ip: String,
    host_port: i64,
}

fn ports(spec: &Place<'_>, out: &mut Vec<String>) {
    let mut all: HashMap<(i64, String), Vec<Port>> = HashMap::new();
    let mut names: HashMap<String, FieldPath> = HashMap::new();
    let mut named = Vec::new();
    containers::visit(spec, |container| {
        let Some(list) = container.field("ports") else { return };
        for port in list.items() {
            let number = |field: &str| port.number(field).unwrap_or(0);
            let (host_ip, host_port) = (port.text("hostIP").to_owned(), number("hostPort"));
            let path = port.path();
            if !host_ip.is_empty() && host_port == 0 {
                let shown = format!(
                    "{{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{host_ip}}}",
                    port.text("name"),
                    number("containerPort"),
                    port.text("protocol"),
                );
                out.push(format!("{path}: hostIP set without hostPort: {shown}"));
            }
            let key = (number("containerPort"), port.text("protocol").to_owned());
            let others = all.entry(key).or_default();
            for other in others.iter() {
                let same = host_port == other.host_port;
                let clash = if same && host_ip == other.host_ip {
                    "duplicate"
                } else if host_port == 0 || other.host_port == 0 {
                    "overlapping"
                } else if same && host_ip.is_empty() != other.host_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!("{path}: {clash} port definition with {}", other.path));
            }
            others.push(Port { path: path.clone(), host_ip, host_port });
            let name = port.text("name");
            if name.is_empty() {
                continue;
            }
            match names.get(name) {
                Some(other) => named.push(format!(
                    "{path}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                    go_quote(name)
                )),
                None => {
                    names.insert(name.to_owned(), path);
                }
            }
        }
    });
    out.extend(named);
}

fn addresses(spec: &Place<'_>, out: &mut Vec<String>) {
    if let Some(config) = spec.field("dnsConfig") {
        for (index, server) in config.texts("nameservers").enumerate() {
            out.extend(of_ip(&config.path_of("nameservers").index(index), server));
        }
    }
    if let Some(aliases) = spec.field("hostAliases") {
        for alias in aliases.items() {
            out.extend(of_ip(&alias.path_of("ip"), alias.text("ip")));
        }
    }
}

/// About an address that is not written as it should be.
pub fn of_ip(path: &FieldPath, text: &str) -> Option<String> {
    let ip = format::parse_ip(text)?;
    let quoted = go_quote(text);
    match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(strict)) if strict.to_ipv4_mapped().is_none() => {
            let canonical = strict.to_string();
            (canonical != text).then(|| {
                format!(
                    "{path}: IPv6 address {quoted} should be in RFC 5952 canonical format ({})",
                    go_quote(&canonical)
                )
            })
        }
        Ok(std::net::IpAddr::V4(_)) => None,
        _ => Some(format!(
            "{path}: non-standard IP address {quoted} is invalid: use {}",
            go_quote(&ip.to_string())
        )),
    }
}
