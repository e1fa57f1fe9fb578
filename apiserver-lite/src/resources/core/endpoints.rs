//! Endpoints: the older form of endpoint slices.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, some_of},
    rules::{self, Check, Place, Rule},
    tree::{list, number, objects_mut, or_default, section, text},
};

use super::addresses;

/// The protocols that ports may have.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// The behaviour of endpoints.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn deprecated(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, object: &mut Object) {
        for subset in objects_mut(&mut object.0, "subsets") {
            for port in objects_mut(subset, "ports") {
                or_default(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
        if let Some(time) = new.annotation(TRIGGER)
            && time.parse::<jiff::Timestamp>().is_err()
        {
            let path = FieldPath::new("annotations").key(TRIGGER);
            errors.push(FieldError::invalid(&path, time, "must be a valid RFC3339 timestamp"));
        }
        // What older versions let through may stay as it is.
        if old.is_none_or(|old| section(old, "subsets") != section(new, "subsets")) {
            errors.extend(rules::validate(ENDPOINTS, new, None));
        }
        errors
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<String> {
        let ours = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
        if new.labels().any(|label| label == ours) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, subset) in list(section(new, "subsets")).iter().enumerate() {
            for part in ["addresses", "notReadyAddresses"] {
                let path = FieldPath::new("subsets").index(index).child(part);
                for (index, address) in list(&subset[part]).iter().enumerate() {
                    let path = path.index(index).child("ip");
                    warnings.extend(addresses::ip_warnings(&path, text(&address["ip"])));
                }
            }
        }
        warnings
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

static ENDPOINTS: &[Check] = &[Check::Each("subsets", SUBSET)];

static SUBSET: &[Check] = &[
    Check::With(|subset, errors| {
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(&subset.path(), detail));
        }
    }),
    Check::Each("addresses", ADDRESS),
    Check::Each("notReadyAddresses", ADDRESS),
    Check::Each("ports", PORT),
];

static ADDRESS: &[Check] = &[
    Check::With(|address, errors| errors.extend(addresses::ip(address.text("ip"), &address.path_of("ip")))),
    Check::Field("hostname", &[Rule::Format(format::dns1123_label)]),
    Check::Pointer("nodeName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::With(|address, errors| {
        errors.extend(addresses::endpoint_ip(address.text("ip"), &address.path_of("ip")));
    }),
];

static PORT: &[Check] = &[
    Check::With(name_where_many),
    Check::Field("name", &[Rule::Format(format::dns1123_label)]),
    Check::With(port_number),
    Check::Field("protocol", &[Rule::Required(""), Rule::OneOf(PROTOCOLS)]),
    Check::Pointer("appProtocol", &[Rule::Format(format::qualified_name)]),
];

/// Requires a name of a port that is not alone.
pub fn name_where_many(port: &Place<'_>, errors: &mut Vec<FieldError>) {
    let alone = port.above().and_then(|ports| ports.value().as_array()).is_none_or(|ports| ports.len() < 2);
    if !alone && port.text("name").is_empty() {
        errors.push(FieldError::required(&port.path_of("name"), ""));
    }
}

/// Requires the number of a port.
pub fn port_number(port: &Place<'_>, errors: &mut Vec<FieldError>) {
    let number = port.number("port").unwrap_or_default();
    for fault in format::port_number(number) {
        errors.push(FieldError::invalid(&port.path_of("port"), number, fault));
    }
}

fn shown(endpoints: &Object) -> String {
    let mut all = Vec::new();
    for subset in list(section(endpoints, "subsets")) {
        let ips = || list(&subset["addresses"]).iter().map(|it| text(&it["ip"]));
        let ports = list(&subset["ports"]);
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for port in ports {
            all.extend(ips().map(|ip| addresses::with_port(ip, number(&port["port"]))));
        }
    }
    // Subsets with no address show nothing; no subset shows `<none>`.
    if list(section(endpoints, "subsets")).is_empty() { "<none>".to_owned() } else { some_of(&all, "") }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Endpoints",
        "string",
        "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
        |it, _| shown(it).into(),
    ),
    AGE,
];
