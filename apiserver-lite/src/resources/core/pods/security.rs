//! Security contexts of pods and containers.

use std::sync::LazyLock;

use coracle_api::{FieldError, format};
use regex::Regex;
use serde_json::Value;

use super::{
    containers,
    internal::{Internal, escaped},
    volumes,
};
use crate::resources::rules::{Check, Errors, Place, Rule, check};

const ID: &[Rule] = &[Rule::Within(0, i32::MAX as i64)];

/// A container's.
pub static CONTAINER: &[Check] = &[
    Check::Field("runAsUser", ID),
    Check::Field("runAsGroup", ID),
    Check::Pointer("procMount", &[Rule::OneOf(&["Default", "Unmasked"])]),
    Check::With(|context, errors| {
        let host_users =
            context.within("spec").is_none_or(|spec| spec.get("hostUsers") != Some(&false.into()));
        if host_users && context.text("procMount") == "Unmasked" {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(&context.path_of("procMount"), "Unmasked", detail));
        }
    }),
    Check::Within("seccompProfile", SECCOMP),
    Check::With(escalation),
    Check::Within("windowsOptions", WINDOWS),
    Check::Within("appArmorProfile", APP_ARMOR),
];

/// A pod's.
pub static POD: &[Check] = &[
    Check::Field("fsGroup", ID),
    Check::Field("runAsUser", ID),
    Check::Field("runAsGroup", ID),
    Check::Items("supplementalGroups", ID),
    Check::With(sysctls),
    Check::Pointer("fsGroupChangePolicy", &[Rule::OneOf(&["Always", "OnRootMismatch"])]),
    Check::Within("seccompProfile", SECCOMP),
    Check::Within("windowsOptions", WINDOWS),
    Check::Within("appArmorProfile", APP_ARMOR),
    Check::Pointer("supplementalGroupsPolicy", &[Rule::OneOf(&["Merge", "Strict"])]),
    Check::Pointer("seLinuxChangePolicy", &[Rule::OneOf(&["MountOption", "Recursive"])]),
];

static SECCOMP: &[Check] = &[
    Check::Field(
        "type",
        &[
            Rule::Required("type is required when seccompProfile is set"),
            Rule::OneOf(&["Localhost", "RuntimeDefault", "Unconfined"]),
        ],
    ),
    Check::With(|profile, errors| {
        let path = profile.path_of("localhostProfile");
        let local = profile.get("localhostProfile").and_then(Value::as_str);
        match (profile.text("type") == "Localhost", local) {
            (true, None) => {
                errors.push(FieldError::required(&path, "must be set when seccomp type is Localhost"));
            }
            (true, Some(local)) => {
                let faults = volumes::descending(local).into_iter();
                errors.extend(faults.map(|fault| FieldError::invalid(&path, local, fault)));
            }
            (false, Some(_)) => {
                let detail = "can only be set when seccomp type is Localhost";
                let shown = Internal::read().compact("SeccompProfile", profile.value());
                errors.push(FieldError::invalid(&path, profile.value().clone(), detail).showing(shown));
            }
            (false, None) => {}
        }
    }),
];

/// An AppArmor profile.
pub static APP_ARMOR: &[Check] = &[Check::With(app_armor)];

fn app_armor(profile: &Place<'_>, errors: &mut Errors) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    let path = profile.path_of("localhostProfile");
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    match (profile.text("type"), local) {
        ("Localhost", None) => errors.push(FieldError::required(&path, MISSING)),
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                errors.push(FieldError::invalid(&path, local, "must not be padded with whitespace"));
            } else if local.is_empty() {
                errors.push(FieldError::required(&path, MISSING));
            }
            if local.len() > 4095 {
                errors.push(FieldError::too_long(&path, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(&path, local, detail));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        _ => check(
            &[Check::Field(
                "type",
                &[
                    Rule::Required("type is required when appArmorProfile is set"),
                    Rule::OneOf(&["Localhost", "RuntimeDefault", "Unconfined"]),
                ],
            )],
            profile,
            errors,
        ),
    }
}

fn escalation(context: &Place<'_>, errors: &mut Errors) {
    if context.get("allowPrivilegeEscalation") != Some(&Value::Bool(false)) {
        return;
    }
    let mut wrong = |detail: &str| {
        let shown = Internal::read().compact("SecurityContext", context.value());
        errors.push(FieldError::invalid(&context.path(), context.value().clone(), detail).showing(shown));
    };
    if context.flag("privileged") {
        wrong("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    let added = context.get("capabilities").and_then(|it| it.get("add")).and_then(Value::as_array);
    for _ in added.into_iter().flatten().filter(|capability| *capability == "CAP_SYS_ADMIN") {
        wrong("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
    }
}

const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn sysctls(context: &Place<'_>, errors: &mut Errors) {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SYSCTL).ok());
    let Some(list) = context.field("sysctls") else { return };
    let spec = context.above();
    let mut seen = std::collections::HashSet::new();
    for sysctl in list.items() {
        let (name, path) = (sysctl.text("name"), sysctl.path_of("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if name.len() > 253 || !NAME.as_ref().is_some_and(|it| it.is_match(name)) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.push(FieldError::invalid(&path, name, detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        let shared = |field: &str| spec.is_some_and(|spec| spec.flag(field));
        match sysctl_namespace(name) {
            Some("net") if shared("hostNetwork") => {
                errors.push(FieldError::invalid(
                    &path,
                    name,
                    "may not be specified when 'hostNetwork' is true",
                ));
            }
            Some("ipc") if shared("hostIPC") => {
                errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostIPC' is true"));
            }
            _ => {}
        }
    }
}

const IPC_SYSCTLS: &[&str] = &[
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];

// `net/ipv4.conf` and `net.ipv4/conf` name the same: the separator that comes
// first decides.
fn sysctl_namespace(name: &str) -> Option<&'static str> {
    let slashed = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let name: String = if slashed { name.chars().map(swap).collect() } else { name.to_owned() };
    if IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
        Some("ipc")
    } else {
        name.starts_with("net.").then_some("net")
    }
}

static WINDOWS: &[Check] = &[
    Check::Pointer("gmsaCredentialSpecName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::With(|options, errors| {
        let Some(spec) = options.get("gmsaCredentialSpec").and_then(Value::as_str) else { return };
        let detail = match spec.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            1..=65536 => return,
            _ => "gmsaCredentialSpec size must be under 64 KiB",
        };
        errors.push(FieldError::invalid(&options.path_of("gmsaCredentialSpec"), spec, detail));
    }),
    Check::With(|options, errors| {
        let Some(name) = options.get("runAsUserName").and_then(Value::as_str) else { return };
        for fault in windows_user(name) {
            let shown = escaped(&name.into());
            errors.push(FieldError::invalid(&options.path_of("runAsUserName"), name, fault).showing(shown));
        }
    }),
];

// `DOMAIN\USER`, where the domain may be left out.
fn windows_user(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut faults = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= 256) {
        faults.push("runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !net_bios(domain) && !windows_domain(domain)) {
        faults.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        faults.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        faults.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        faults.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        faults.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    faults
}

fn net_bios(domain: &str) -> bool {
    let length = domain.chars().count();
    let odd = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&length) && !domain.starts_with('.') && !domain.contains(odd)
}

fn windows_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// Windows' host process containers: all of a pod's or none.
pub fn host_process(spec: &Place<'_>, errors: &mut Errors) {
    let option = |place: &Place<'_>| {
        let context = place.get("securityContext")?;
        context.get("windowsOptions")?.get("hostProcess")?.as_bool()
    };
    let of_pod = option(spec);
    let (mut all, mut hosted) = (0, 0);
    containers::visit(spec, |container| {
        let own = option(container);
        if let Some((pod, own)) = of_pod.zip(own).filter(|(pod, own)| pod != own) {
            let path = container.path_of("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(FieldError::invalid(&path, own, detail));
        }
        all += 1;
        hosted += usize::from(own.or(of_pod).unwrap_or(false));
    });
    if hosted == 0 {
        return;
    }
    if hosted != all {
        let detail =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(&spec.path(), "", detail));
    }
    if !spec.flag("hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&spec.path_of("hostNetwork"), false, detail));
    }
}

const POD_LINUX_ONLY: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];

const CONTAINER_LINUX_ONLY: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// What the operating system of a pod rules out.
pub fn of_os(spec: &Place<'_>, errors: &mut Errors) {
    let Some(os) = spec.field("os") else { return };
    let name = os.text("name");
    match name {
        "" => errors.push(FieldError::required(&os.path_of("name"), "")),
        "linux" => {
            let options = ["windowsOptions"];
            let detail = "windows options cannot be set for a linux pod";
            unset_within(spec, &options, detail, errors);
            containers::visit(spec, |container| unset_within(container, &options, detail, errors));
        }
        "windows" => {
            let detail = "cannot be set for a windows pod";
            unset_within(spec, POD_LINUX_ONLY, detail, errors);
            // Upstream goes by the pointers of the first two and by the value
            // of the others.
            for field in ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] {
                if spec.flag(field) || spec.has(field) && !matches!(field, "hostPID" | "hostIPC") {
                    errors.push(FieldError::forbidden(&spec.path_of(field), detail));
                }
            }
            containers::visit(spec, |container| {
                unset_within(container, CONTAINER_LINUX_ONLY, detail, errors)
            });
        }
        other => errors.push(FieldError::not_supported(&os.path(), other, &["linux", "windows"])),
    }
}

fn unset_within(place: &Place<'_>, fields: &[&str], detail: &str, errors: &mut Errors) {
    let Some(context) = place.field("securityContext") else { return };
    for field in fields.iter().filter(|field| context.has(field)) {
        errors.push(FieldError::forbidden(&context.path_of(field), detail));
    }
}
