//! Ingresses.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show_or},
    core::{addresses, services::ingress_points},
    rules::{self, Check, Errors, Place, Rule},
    tree::{field, list, section, set, text},
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The behaviour of ingresses.
pub struct Ingresses;

impl Strategy for Ingresses {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        crate::resources::prepare(write, new, old);
        if old.is_none() {
            new.0.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return status(new, old);
        }
        let mut errors = rules::validate(&[Check::Within("spec", SPEC)], new, None);
        let (class, annotated) =
            (field(new, &["spec", "ingressClassName"]), new.annotation(CLASS_ANNOTATION));
        if let (None, Some(class), Some(annotated)) = (old, class.as_str(), annotated)
            && class != annotated
        {
            let path = FieldPath::new("annotations").child(CLASS_ANNOTATION);
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, annotated, detail));
        }
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        if write.part == Part::Status {
            let path = FieldPath::new("status").child("loadBalancer").child("ingress");
            let points = list(field(new, &["status", "loadBalancer", "ingress"])).iter().enumerate();
            return points
                .filter_map(|(index, it)| addresses::ip_warnings(&path.index(index), text(&it["ip"])))
                .collect();
        }
        let annotated = new.annotation(CLASS_ANNOTATION).is_some();
        if old.is_some() || !annotated || set(field(new, &["spec", "ingressClassName"])) {
            return Vec::new();
        }
        vec![format!(
            "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        if spec.list("rules").is_empty() && !spec.has("defaultBackend") {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid(&spec.path(), Value::Null, detail));
        }
    }),
    Check::Within("defaultBackend", &[Check::With(backend)]),
    Check::Each("rules", RULE),
    Check::Each("tls", TLS),
    Check::Pointer("ingressClassName", &[Rule::Format(format::dns1123_subdomain)]),
];

static RULE: &[Check] = &[
    Check::With(|rule, errors| {
        let host = rule.text("host");
        if addresses::lenient_ip(host).is_some() {
            let detail = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(&rule.path_of("host"), host, detail));
        }
        errors.extend(host_faults(host, &rule.path_of("host")));
    }),
    Check::Within("http", &[Check::With(some_path), Check::Each("paths", &[Check::With(path)])]),
];

static TLS: &[Check] = &[
    Check::With(|tls, errors| {
        for (index, host) in tls.texts("hosts").enumerate() {
            let path = tls.path_of("hosts").index(index);
            if host.is_empty() {
                let faults = format::dns1123_subdomain(host);
                errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, host, fault)));
            }
            errors.extend(host_faults(host, &path));
        }
    }),
    Check::Field("secretName", &[Rule::Format(format::dns1123_subdomain)]),
];

fn host_faults(host: &str, path: &FieldPath) -> Vec<FieldError> {
    let faults = match host {
        "" => Vec::new(),
        wild if wild.contains('*') => format::wildcard_dns1123_subdomain(wild),
        host => format::dns1123_subdomain(host),
    };
    faults.into_iter().map(|fault| FieldError::invalid(path, host, fault)).collect()
}

fn some_path(http: &Place<'_>, errors: &mut Errors) {
    if http.list("paths").is_empty() {
        errors.push(FieldError::required(&http.path_of("paths"), ""));
    }
}

fn path(place: &Place<'_>, errors: &mut Errors) {
    const NOT_WITHIN: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
    const NOT_AT_END: &[&str] = &["/..", "/."];
    let (kind, path) = (place.text("pathType"), place.text("path"));
    let at = place.path_of("path");
    let mut invalid = |detail: String| errors.push(FieldError::invalid(&at, path, detail));
    match kind {
        "Exact" | "Prefix" => {
            if !path.starts_with('/') {
                invalid("must be an absolute path".to_owned());
            }
            for part in NOT_WITHIN.iter().filter(|part| path.contains(**part)) {
                invalid(format!("must not contain '{part}'"));
            }
            for end in NOT_AT_END.iter().filter(|end| path.ends_with(**end)) {
                invalid(format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.starts_with('/') {
                invalid("must be an absolute path".to_owned());
            }
        }
        _ if !place.has("pathType") => {
            errors.push(FieldError::required(&place.path_of("pathType"), "pathType must be specified"));
            return;
        }
        kind => {
            let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&place.path_of("pathType"), kind, kinds));
        }
    }
    let none = Value::Object(serde_json::Map::new());
    let value = place.get("backend").unwrap_or(&none);
    let at = place.path_of("backend");
    backend(&Place::at(at.as_str(), value, None), errors);
}

static RESOURCE: &[Check] = &[
    Check::Field("apiGroup", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Field("kind", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
];

fn backend(backend: &Place<'_>, errors: &mut Errors) {
    let path = backend.path();
    match (backend.field("resource"), backend.field("service")) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(&path, "", "cannot set both resource and service backends"));
        }
        (Some(resource), None) => rules::check(RESOURCE, &resource, errors),
        (None, Some(service)) => {
            rules::check(SERVICE, &service, errors);
            let port = service.get("port").unwrap_or(&Value::Null);
            let (name, number) = (text(&port["name"]), port["number"].as_i64().unwrap_or(0));
            let at = path.child("service").child("port");
            match (name.is_empty(), number) {
                (false, 0) => {
                    let faults = format::port_name(name);
                    let at = at.child("name");
                    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, name, fault)));
                }
                (false, _) => {
                    errors.push(FieldError::invalid(&path, "", "cannot set both port name & port number"));
                }
                (true, 0) => errors.push(FieldError::required(&path, "port name or number is required")),
                (true, number) => {
                    let faults = format::port_number(number);
                    let at = at.child("number");
                    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, number, fault)));
                }
            }
        }
        (None, None) => {
            errors.push(FieldError::invalid(&path, "", "resource or service backend is required"));
        }
    }
}

static SERVICE: &[Check] =
    &[Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_label)])];

fn status(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let points = |it| list(field(it, &["status", "loadBalancer", "ingress"]));
    let known = old.map(points).unwrap_or_default();
    let path = FieldPath::new("status").child("loadBalancer").child("ingress");
    let mut errors = Vec::new();
    for (index, point) in points(new).iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text(&point["ip"]), text(&point["hostname"]));
        if !ip.is_empty() && !known.iter().any(|it| text(&it["ip"]) == ip) {
            errors.extend(addresses::ip(ip, &path.child("ip")));
        }
        if !host.is_empty() {
            let path = path.child("hostname");
            let faults = format::dns1123_subdomain(host);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, host, fault)));
            if addresses::lenient_ip(host).is_some() {
                errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}

// The hosts of the first three rules.
fn hosts(ingress: &Object) -> String {
    const SHOWN: usize = 3;
    let rules = list(field(ingress, &["spec", "rules"]));
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = text(&rule["host"]);
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - SHOWN),
        (false, false) => hosts.join(","),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Class",
        "string",
        "The name of the IngressClass resource that should be used for additional configuration",
        |it, _| show_or(it, &["spec", "ingressClassName"], "<none>"),
    ),
    Column::new(
        "Hosts",
        "string",
        "Hosts that incoming requests are matched against before the ingress rule",
        |it, _| hosts(it).into(),
    ),
    Column::new(
        "Address",
        "string",
        "Address is a list containing ingress points for the load-balancer",
        |it, _| ingress_points(section(it, "status")).join(",").into(),
    ),
    Column::new("Ports", "string", "Ports of TLS configurations that open", |it, _| {
        if list(field(it, &["spec", "tls"])).is_empty() { "80".into() } else { "80, 443".into() }
    }),
    AGE,
];
