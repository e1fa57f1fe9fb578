//! Environment variables and where they come from; field and resource
//! references, which volumes use too.

use coracle_api::{FieldError, Quantity, format};

use super::volumes;
use crate::resources::rules::{Check, Errors, Place, Rule, check};

/// One variable.
pub static VARIABLE: &[Check] = &[
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::env_var_name)]),
    Check::Within("valueFrom", FROM),
];

static FROM: &[Check] = &[
    Check::Within("fieldRef", &[Check::With(|field, errors| field_ref(field, ENV_FIELDS, errors))]),
    Check::Within("resourceFieldRef", &[Check::With(|field, errors| resource_ref(field, false, errors))]),
    Check::Within("configMapKeyRef", KEY),
    Check::Within("secretKeyRef", KEY),
    Check::Within("fileKeyRef", FILE_KEY),
    Check::With(one_source),
];

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

// What v1 pods let be referred to at all.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

static KEY: &[Check] = &[
    Check::With(|key, errors| {
        let name = key.text("name");
        for fault in format::dns1123_subdomain(name) {
            errors.push(FieldError::invalid(&key.path_of("name"), name, fault));
        }
    }),
    Check::Field("key", &[Rule::Required(""), Rule::Format(format::config_map_key)]),
];

static FILE_KEY: &[Check] = &[
    Check::Field("key", &[Rule::Required(""), Rule::Format(format::env_var_name)]),
    Check::Field("volumeName", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
    Check::Field("path", &[Rule::Required(""), Rule::Format(volumes::no_backsteps)]),
];

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn one_source(from: &Place<'_>, errors: &mut Errors) {
    let sources = SOURCES.iter().filter(|source| from.has(source)).count();
    let valued = from.above().is_some_and(|variable| !variable.text("value").is_empty());
    let detail = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if valued => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(&from.path(), "", detail));
}

/// `envFrom`. Upstream names the list where it means an item.
pub fn sources(container: &Place<'_>, errors: &mut Errors) {
    static SOURCE: &[Check] = &[
        Check::Field("prefix", &[Rule::Format(format::env_var_name)]),
        Check::Within("configMapRef", NAMED),
        Check::Within("secretRef", NAMED),
    ];
    static NAMED: &[Check] = &[Check::Field(
        "name",
        &[Rule::Required(""), Rule::Format(|name| format::name_is_subdomain(name, true))],
    )];
    let Some(list) = container.field("envFrom") else { return };
    for source in list.items() {
        check(SOURCE, &source, errors);
        let detail = match (source.has("configMapRef"), source.has("secretRef")) {
            (false, false) => "must specify one of: `configMapRef` or `secretRef`",
            (true, true) => "may not have more than one field specified at a time",
            _ => continue,
        };
        errors.push(FieldError::invalid(&list.path(), "", detail));
    }
}

/// A reference to a field of the pod from a file in a volume.
pub fn volume_field_ref(field: &Place<'_>, errors: &mut Errors) {
    field_ref(field, VOLUME_FIELDS, errors);
}

fn field_ref(reference: &Place<'_>, allowed: &[&str], errors: &mut Errors) {
    let (version, path) = (reference.text("apiVersion"), reference.text("fieldPath"));
    for (field, value) in [("apiVersion", version), ("fieldPath", path)] {
        if value.is_empty() {
            errors.push(FieldError::required(&reference.path_of(field), ""));
            return;
        }
    }
    let subscripted = subscript(path);
    let known = match subscripted {
        Some((base, _)) => matches!(base, "metadata.annotations" | "metadata.labels"),
        None => [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].concat().contains(&path) || path == "spec.host",
    };
    let fault = if version != "v1" {
        Some(format!("unsupported pod version: {version}"))
    } else if known {
        None
    } else if subscripted.is_some() {
        Some(format!("field label does not support subscript: {path}"))
    } else {
        Some(format!("field label not supported: {path}"))
    };
    if let Some(fault) = fault {
        let detail = format!("error converting fieldPath: {fault}");
        errors.push(FieldError::invalid(&reference.path_of("fieldPath"), path, detail));
        return;
    }
    match subscripted {
        Some((base, key)) => {
            // Annotations may be written in any case.
            let key = if base == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            for fault in format::qualified_name(&key) {
                errors.push(FieldError::invalid(&reference.path(), key.as_str(), fault));
            }
        }
        None => {
            let path = if path == "spec.host" { "spec.nodeName" } else { path };
            if !allowed.contains(&path) {
                errors.push(FieldError::not_supported(&reference.path_of("fieldPath"), path, allowed));
            }
        }
    }
}

// `metadata.labels['a']` -> `metadata.labels`, `a`
fn subscript(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_suffix("']")?;
    let (base, key) = inner.split_once("['")?;
    (!base.is_empty()).then_some((base, key))
}

/// A reference to a resource of a container. In volumes it names the container.
pub fn resource_ref(reference: &Place<'_>, in_volume: bool, errors: &mut Errors) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.push(FieldError::required(&reference.path_of("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&reference.path_of("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.push(FieldError::not_supported(&reference.path_of("resource"), resource, RESOURCES));
    }
    let divisor = Quantity::parse(reference.text("divisor")).unwrap_or_default();
    if divisor.is_zero() {
        return;
    }
    let (allowed, kind) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"][..], "cpu"),
        Some("memory") => (BYTES, "memory"),
        Some("ephemeral-storage") => (BYTES, "local ephemeral storage"),
        _ if huge => (BYTES, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.to_string().as_str()) {
        let values = if kind == "cpu" { allowed.join(" and ") } else { allowed.join(", ") };
        let detail = format!("only divisor's values {values} are supported with the {kind} resource");
        errors.push(FieldError::invalid(&reference.path_of("divisor"), resource, detail));
    }
}
