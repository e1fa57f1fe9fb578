//! Endpoint slices.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show, some_of},
    core::{addresses, endpoints::PROTOCOLS},
    declared, meta,
    rules::{self, Check, Errors, Place, Rule},
    tree::{count, list, number, objects_mut, section, text, texts},
};

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const MOST_ADDRESSES: usize = 100;
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// The behaviour of endpoint slices.
pub struct EndpointSlices;

impl Strategy for EndpointSlices {
    fn default(&self, object: &mut Object) {
        for port in objects_mut(&mut object.0, "ports") {
            port.entry("name").or_insert_with(|| "".into());
            port.entry("protocol").or_insert_with(|| "TCP".into());
        }
    }

    // The generation counts changes to anything but metadata, and to labels.
    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        let Some(old) = old else {
            new.set_meta("generation", Some(1.into()));
            drop_topology(new, None);
            return;
        };
        const CONTENT: [&str; 3] = ["addressType", "endpoints", "ports"];
        let changed = CONTENT.iter().any(|name| section(new, name) != section(old, name));
        if changed || new.meta("labels") != old.meta("labels") {
            new.set_meta("generation", Some((old.generation() + 1).into()));
        }
        if section(new, "endpoints") != section(old, "endpoints") {
            drop_topology(new, Some(old));
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(SLICE, new, None);
        // What older versions let through may stay as it is.
        if old.is_none_or(|old| section(old, "endpoints") != section(new, "endpoints")) {
            errors.extend(endpoints(new));
        }
        declared::supersede(&mut errors, declared_of(new, old));
        errors
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        const BY: &str = "endpointslice.kubernetes.io/managed-by";
        let mut warnings = Vec::new();
        if old.is_none() && text(section(new, "addressType")) == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let ours = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
        if new.labels().any(|(key, value)| key == BY && ours.contains(&value)) {
            return warnings;
        }
        for (index, endpoint) in list(section(new, "endpoints")).iter().enumerate() {
            let path = FieldPath::new("endpoints").index(index).child("addresses");
            for (index, address) in texts(&endpoint["addresses"]).into_iter().enumerate() {
                warnings.extend(addresses::ip_warnings(&path.index(index), address));
            }
        }
        warnings
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

// `deprecatedTopology` is of an older version; only the node's name is saved
// out of it, where it was there before.
fn drop_topology(new: &mut Object, old: Option<&Object>) {
    let before: Vec<String> = old
        .map(|old| list(section(old, "endpoints")))
        .unwrap_or_default()
        .iter()
        .map(|it| text(&it["deprecatedTopology"][HOSTNAME_LABEL]).to_owned())
        .collect();
    for endpoint in objects_mut(&mut new.0, "endpoints") {
        let Some(topology) = endpoint.remove("deprecatedTopology") else { continue };
        let node = text(&topology[HOSTNAME_LABEL]);
        let known = before.iter().any(|it| it == node) && format::dns1123_subdomain(node).is_empty();
        if known && !node.is_empty() {
            endpoint.entry("nodeName").or_insert_with(|| node.into());
        }
    }
}

fn declared_of(new: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let (path, kind) = (FieldPath::new("addressType"), text(section(new, "addressType")));
    let before = old.map(|old| text(section(old, "addressType")));
    if before != Some(kind) {
        if kind.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if before.is_some() {
            errors.push(declared::immutable(&path));
        }
        if errors.is_empty() && !ADDRESS_TYPES.contains(&kind) {
            errors.push(FieldError::not_supported(&path, kind, ADDRESS_TYPES));
        }
    }
    let endpoints = section(new, "endpoints");
    if old.is_some_and(|old| section(old, "endpoints") == endpoints) {
        return errors;
    }
    for (index, endpoint) in list(endpoints).iter().enumerate() {
        let path = FieldPath::new("endpoints").index(index).child("addresses");
        match count(&endpoint["addresses"]) {
            0 => errors.push(FieldError::required(&path, "")),
            count if count > MOST_ADDRESSES => {
                errors.push(FieldError::too_many(&path, count, MOST_ADDRESSES));
            }
            _ => {}
        }
    }
    errors
}

static SLICE: &[Check] =
    &[Check::Field("addressType", &[Rule::Required(""), Rule::OneOf(ADDRESS_TYPES)]), Check::With(ports)];

fn ports(slice: &Place<'_>, errors: &mut Errors) {
    const MOST: usize = 20_000;
    let Some(ports) = slice.field("ports") else { return };
    if slice.list("ports").len() > MOST {
        errors.push(FieldError::too_many(&ports.path(), slice.list("ports").len(), MOST));
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for (index, port) in slice.list("ports").iter().enumerate() {
        let place = ports.item(index, port);
        rules::check(&[Check::Field("name", &[Rule::Format(format::dns1123_label)])], &place, errors);
        let name = text(&port["name"]);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&place.path_of("name"), name));
        }
        rules::check(PORT, &place, errors);
    }
}

static PORT: &[Check] = &[
    Check::Pointer("protocol", &[Rule::Required(""), Rule::OneOf(PROTOCOLS)]),
    Check::Pointer("appProtocol", &[Rule::Format(format::qualified_name)]),
];

static ENDPOINT: &[Check] = &[
    Check::Pointer("nodeName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::With(|endpoint, errors| {
        if let Some(topology) = endpoint.field("deprecatedTopology") {
            meta::validate_labels(&topology, errors);
        }
    }),
    Check::Pointer("hostname", &[Rule::Format(format::dns1123_label)]),
    Check::Within(
        "hints",
        &[Check::With(|hints, errors| {
            hint(hints, "forZones", format::label_value, errors);
            hint(hints, "forNodes", format::dns1123_subdomain, errors);
        })],
    ),
];

fn hint(hints: &Place<'_>, name: &str, format: rules::Format, errors: &mut Errors) {
    const MOST: usize = 8;
    let path = hints.path_of(name);
    let all = hints.list(name);
    if all.len() > MOST {
        errors.push(FieldError::too_many(&path, all.len(), MOST));
        return;
    }
    for (index, it) in all.iter().enumerate() {
        let (path, value) = (path.index(index).child("name"), text(&it["name"]));
        if all[..index].iter().any(|other| text(&other["name"]) == value) {
            errors.push(FieldError::duplicate(&path, value));
        }
        errors.extend(format(value).into_iter().map(|fault| FieldError::invalid(&path, value, fault)));
    }
}

fn endpoints(slice: &Object) -> Vec<FieldError> {
    const MOST: usize = 1000;
    let place = Place::object(slice, None);
    let mut errors = Vec::new();
    let Some(endpoints) = place.field("endpoints") else { return errors };
    let count = place.list("endpoints").len();
    if count > MOST {
        return vec![FieldError::too_many(&endpoints.path(), count, MOST)];
    }
    for endpoint in endpoints.items() {
        address_list(&endpoint, place.text("addressType"), &mut errors);
        rules::check(ENDPOINT, &endpoint, &mut errors);
    }
    errors
}

fn address_list(endpoint: &Place<'_>, kind: &str, errors: &mut Errors) {
    let path = endpoint.path_of("addresses");
    for (index, address) in endpoint.texts("addresses").enumerate() {
        let at = path.index(index);
        let (faults, fits) = match kind {
            "IPv4" => (addresses::ip(address, &at), !addresses::is_v6(address)),
            "IPv6" => (addresses::canonical_ip(address, &at), addresses::is_v6(address)),
            "FQDN" => {
                errors.extend(domain(address, &at));
                continue;
            }
            _ => continue,
        };
        if !faults.is_empty() {
            errors.extend(faults);
            continue;
        }
        if !fits {
            errors.push(FieldError::invalid(&path, address, format!("must be an {kind} address")));
        }
        errors.extend(addresses::endpoint_ip(address, &at));
    }
}

fn domain(text: &str, path: &FieldPath) -> Option<FieldError> {
    if text.is_empty() {
        return Some(FieldError::required(path, ""));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let faults = format::dns1123_subdomain(name);
    if !faults.is_empty() {
        return Some(FieldError::invalid(path, name, faults.join(",")));
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        return Some(FieldError::invalid(path, name, detail));
    }
    name.split('.').find_map(|label| {
        let faults = format::dns1123_label(label);
        (!faults.is_empty()).then(|| FieldError::invalid(path, label, faults.join(",")))
    })
}

fn port(port: &Value) -> String {
    match (port["port"].is_null(), port["name"].as_str()) {
        (false, _) => number(&port["port"]).to_string(),
        (true, Some(name)) => name.to_owned(),
        (true, None) => "*".to_owned(),
    }
}

fn unset_if_empty(shown: String) -> Value {
    if shown.is_empty() { "<unset>".into() } else { shown.into() }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "AddressType",
        "string",
        "addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice must be the same type. This field is immutable after creation. The following address types are currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN: Represents a Fully Qualified Domain Name. (Deprecated) The EndpointSlice controller only generates, and kube-proxy only processes, slices of addressType \"IPv4\" and \"IPv6\". No semantics are defined for the \"FQDN\" type.",
        |it, _| show(it, &["addressType"]),
    ),
    Column::new(
        "Ports",
        "string",
        "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name. Each slice may include a maximum of 100 ports. Services always have at least 1 port, so EndpointSlices generated by the EndpointSlice controller will likewise always have at least 1 port. EndpointSlices used for other purposes may have an empty ports list.",
        |it, _| {
            let ports: Vec<String> = list(section(it, "ports")).iter().map(port).collect();
            unset_if_empty(some_of(&ports, ""))
        },
    ),
    Column::new(
        "Endpoints",
        "string",
        "endpoints is a list of unique endpoints in this slice. Each slice may include a maximum of 1000 endpoints.",
        |it, _| {
            let all = list(section(it, "endpoints")).iter().flat_map(|it| texts(&it["addresses"]));
            unset_if_empty(some_of(&all.map(str::to_owned).collect::<Vec<_>>(), ""))
        },
    ),
    AGE,
];
