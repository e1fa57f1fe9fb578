//! Network policies.

use coracle_api::{FieldError, Object, field::FieldErrorKind, format};
use serde_json::{Map, Value, json};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, selector},
    core::addresses,
    declared, label_selectors,
    rules::{self, Errors, Place},
    tree::{field, list, objects_mut, section, text, texts},
};

/// The behaviour of network policies.
pub struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        let has =
            |spec: &Map<String, Value>, name: &str| spec.get(name).is_some_and(|it| !list(it).is_empty());
        for side in ["ingress", "egress"] {
            for rule in objects_mut(spec, side) {
                for port in objects_mut(rule, "ports") {
                    port.entry("protocol").or_insert_with(|| "TCP".into());
                }
            }
        }
        if !has(spec, "policyTypes") {
            let types = if has(spec, "egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".to_owned(), types);
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let known = old.map(networks).unwrap_or_default();
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let Some(spec) = place.field("spec") else { return errors };
        if let Some(pods) = spec.field("podSelector") {
            rules::check(label_selectors::SELECTOR, &pods, &mut errors);
        }
        for (side, peers) in [("ingress", "from"), ("egress", "to")] {
            let Some(all) = spec.field(side) else { continue };
            for rule in all.items() {
                if let Some(ports) = rule.field("ports") {
                    ports.items().for_each(|it| port(&it, &mut errors));
                }
                if let Some(peers) = rule.field(peers) {
                    peers.items().for_each(|it| peer(&it, &known, &mut errors));
                }
            }
        }
        types(&spec, &mut errors);
        declared::last(&mut errors, |error| {
            error.kind == FieldErrorKind::Required && error.path.as_str().ends_with("].ipBlock.cidr")
        });
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

// All networks that a policy names: an update may keep those that today's
// rules refuse.
fn networks(policy: &Object) -> Vec<&str> {
    let spec = section(policy, "spec");
    let sides = [("ingress", "from"), ("egress", "to")].into_iter();
    let peers = sides.flat_map(|(side, peers)| list(&spec[side]).iter().flat_map(move |it| list(&it[peers])));
    peers
        .flat_map(|peer| {
            let block = &peer["ipBlock"];
            std::iter::once(text(&block["cidr"])).chain(texts(&block["except"]))
        })
        .collect()
}

fn types(spec: &Place<'_>, errors: &mut Errors) {
    const TYPES: &[&str] = &["Ingress", "Egress"];
    let path = spec.path_of("policyTypes");
    let all = spec.list("policyTypes");
    if all.len() > TYPES.len() {
        errors.push(FieldError::invalid(&path, json!(all), "may not specify more than two policyTypes"));
        return;
    }
    for (index, kind) in spec.texts("policyTypes").enumerate().filter(|(_, kind)| !TYPES.contains(kind)) {
        errors.push(FieldError::not_supported(&path.index(index), kind, TYPES));
    }
}

fn port(port: &Place<'_>, errors: &mut Errors) {
    const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
    let protocol = port.text("protocol");
    if port.has("protocol") && !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(&port.path_of("protocol"), protocol, PROTOCOLS));
    }
    let (path, end_path, end) = (port.path_of("port"), port.path_of("endPort"), port.number("endPort"));
    match (port.get("port"), end) {
        (None, Some(end)) => {
            let detail = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(&end_path, end, detail));
        }
        (None, None) => {}
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(&end_path, end, detail));
            }
            let faults = format::port_name(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name.as_str(), fault)));
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or_default();
            let faults = format::port_number(number);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, number, fault)));
            let Some(end) = end else { return };
            if end < number {
                errors.push(FieldError::invalid(&end_path, end, "must be greater than or equal to `port`"));
            }
            let faults = format::port_number(end);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&end_path, end, fault)));
        }
    }
}

fn peer(peer: &Place<'_>, known: &[&str], errors: &mut Errors) {
    let mut count = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.field(name) {
            count += 1;
            rules::check(label_selectors::SELECTOR, &selector, errors);
        }
    }
    if let Some(it) = peer.field("ipBlock") {
        count += 1;
        block(&it, known, errors);
    }
    if count == 0 {
        errors.push(FieldError::required(&peer.path(), "must specify a peer"));
    } else if count > 1 && peer.has("ipBlock") {
        errors.push(FieldError::forbidden(&peer.path(), "may not specify both ipBlock and another peer"));
    }
}

fn block(block: &Place<'_>, known: &[&str], errors: &mut Errors) {
    let (cidr, path) = (block.text("cidr"), block.path_of("cidr"));
    if cidr.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    if !known.contains(&cidr) {
        errors.extend(addresses::cidr(cidr, &path));
    }
    if addresses::cidr_is_v6(cidr).is_none() {
        return;
    }
    for (index, except) in block.texts("except").enumerate() {
        let path = block.path_of("except").index(index);
        if !known.contains(&except) {
            errors.extend(addresses::cidr(except, &path));
        }
        if addresses::contains_strictly(cidr, except) == Some(false) {
            errors.push(FieldError::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Pod-Selector",
        "string",
        "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
        |it, _| {
            let pods = field(it, &["spec", "podSelector"]);
            if pods.is_null() { "<none>".into() } else { selector(pods).into() }
        },
    ),
    AGE,
];
