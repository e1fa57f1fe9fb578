//! A pod's names and its view of DNS and of the host's network.

use coracle_api::{FieldError, format};

use crate::resources::rules::{Check, Errors, Place, check, texts};

/// `spec.dnsConfig`
pub fn dns_config(spec: &Place<'_>, errors: &mut Errors) {
    let config = spec.field("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        let Some(config) = &config else {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(&spec.path_of("dnsConfig"), detail));
            return;
        };
        if config.list("nameservers").is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&config.path_of("nameservers"), detail));
            return;
        }
    }
    if let Some(config) = &config {
        check(DNS, config, errors);
    }
}

static DNS: &[Check] = &[
    Check::With(|config, errors| too_many(config, "nameservers", 3, "nameservers", errors)),
    Check::With(|config, errors| texts(config, "nameservers", format::ip_lenient, errors)),
    Check::With(|config, errors| too_many(config, "searches", 32, "search paths", errors)),
    Check::With(|config, errors| {
        let searches: Vec<&str> = config.texts("searches").collect();
        if searches.join(" ").len() > 2048 {
            let detail = "must not have more than 2048 characters (including spaces) in the search list";
            errors.push(FieldError::invalid(&config.path_of("searches"), searches, detail));
        }
    }),
    Check::With(|config, errors| {
        for (index, search) in config.texts("searches").enumerate().filter(|(_, search)| *search != ".") {
            let search = search.strip_suffix('.').unwrap_or(search);
            let path = || config.path_of("searches").index(index);
            let faults = format::dns1123_subdomain_with_underscore(search).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&path(), search, fault)));
        }
    }),
    Check::Each(
        "options",
        &[Check::With(|option, errors| {
            if option.text("name").is_empty() {
                errors.push(FieldError::required(&option.path(), "must not be empty"));
            }
        })],
    ),
];

fn too_many(config: &Place<'_>, field: &str, most: usize, what: &str, errors: &mut Errors) {
    let list = config.list(field);
    if list.len() > most {
        let detail = format!("must not have more than {most} {what}");
        errors.push(FieldError::invalid(&config.path_of(field), list, detail));
    }
}

/// Pods in the host's network have their ports there too. Templates may leave
/// host ports out: pods get them.
pub fn host_network_ports(spec: &Place<'_>, errors: &mut Errors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    let in_pod = super::spec::of_pod(spec);
    let Some(containers) = spec.field("containers") else { return };
    for container in containers.items() {
        let Some(ports) = container.field("ports") else { continue };
        for port in ports.items() {
            let (host, own) =
                (port.number("hostPort").unwrap_or(0), port.number("containerPort").unwrap_or(0));
            if (in_pod || host != 0) && host != own {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&port.path_of("hostPort"), host, detail));
            }
        }
    }
}

/// `spec.hostnameOverride`
pub fn hostname_override(spec: &Place<'_>, errors: &mut Errors) {
    if !spec.has("hostnameOverride") {
        return;
    }
    let path = spec.path_of("hostnameOverride");
    if spec.flag("setHostnameAsFQDN") {
        errors.push(FieldError::forbidden(&path, "may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errors.push(FieldError::forbidden(&path, "may not be specified when hostNetwork is true"));
    }
    let name = spec.text("hostnameOverride");
    if name.len() > 64 {
        errors.push(FieldError::too_long(&path, 64));
    }
    errors.extend(format::dns1123_subdomain(name).into_iter().map(|it| FieldError::invalid(&path, name, it)));
}

/// Pods with users of their own share little with the host.
pub fn host_users(spec: &Place<'_>, errors: &mut Errors) {
    if spec.get("hostUsers").is_none_or(|users| *users != false) {
        return;
    }
    const DETAIL: &str = "when `hostUsers` is false";
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errors.push(FieldError::forbidden(&spec.path_of(shown), DETAIL));
        }
    }
    super::containers::visit(spec, |container| {
        if !container.list("volumeDevices").is_empty() {
            errors.push(FieldError::forbidden(&container.path_of("volumeDevices"), DETAIL));
        }
    });
}
