//! The baseline: what is a known way out of a container is not allowed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pod::{Fault, Pod, named, plural, quoted};
use crate::resources::tree::{at, list, number, set, text, truth};

/// A check: what it does not allow of a pod in a minor version.
pub type Check = fn(&Pod<'_>, u32) -> Option<Fault>;

/// The checks by name, in upstream's order.
pub static CHECKS: &[(&str, Check)] = &[
    ("appArmorProfile", app_armor),
    ("capabilities_baseline", capabilities),
    ("hostNamespaces", host_namespaces),
    ("hostPathVolumes", host_paths),
    ("hostPorts", host_ports),
    ("hostProbesAndHostLifecycle", host_probes),
    ("privileged", privileged),
    ("procMount", proc_mount),
    ("seLinuxOptions", selinux),
    ("seccompProfile_baseline", seccomp),
    ("sysctls", sysctls),
    ("windowsHostProcess", host_process),
];

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

// With the minor version since which each is thought safe.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Whether a profile of seccomp or AppArmor is one of the allowed types.
pub fn confined(profile: &Value) -> bool {
    matches!(text(at(profile, &["type"])), "RuntimeDefault" | "Localhost")
}

/// The type of a profile that is not allowed.
pub fn unconfined(profile: &Value) -> Option<String> {
    (!confined(profile)).then(|| text(at(profile, &["type"])).to_owned())
}

fn app_armor(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let setters = pod.setters(&["appArmorProfile"], unconfined);
    let allowed = |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    if setters.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut who = setters.shown();
    if !annotations.is_empty() {
        who.push(plural("annotation", annotations.len()));
    }
    let values: Vec<String> = setters.values.into_iter().chain(annotations).collect();
    let one = values.len() == 1;
    Some(Fault {
        reason: if one { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" },
        detail: format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
    })
}

fn capabilities(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    fn added(container: &Value) -> impl Iterator<Item = &str> {
        let names = list(at(container, &["securityContext", "capabilities", "add"])).iter().map(text);
        names.filter(|name| !CAPABILITIES.contains(name))
    }
    let bad = pod.containers_that(|container| added(container).next().is_some());
    let names: BTreeSet<&str> = pod.containers().flat_map(added).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &bad),
            quoted(names)
        ),
    })
}

fn host_namespaces(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|it| truth(at(pod.spec(), &[it])));
    let shared: Vec<String> = shared.map(|it| format!("{it}=true")).collect();
    (!shared.is_empty()).then(|| Fault { reason: "host namespaces", detail: shared.join(", ") })
}

fn host_paths(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let bad = pod.volumes().iter().filter(|volume| set(at(volume, &["hostPath"])));
    let bad: Vec<String> = bad.map(|volume| text(&volume["name"]).to_owned()).collect();
    (!bad.is_empty()).then(|| Fault { reason: "hostPath volumes", detail: named("volume", &bad) })
}

fn host_ports(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    fn used(container: &Value) -> impl Iterator<Item = i64> {
        list(at(container, &["ports"]))
            .iter()
            .map(|port| number(at(port, &["hostPort"])))
            .filter(|it| *it != 0)
    }
    let bad = pod.containers_that(|container| used(container).next().is_some());
    let ports: BTreeSet<String> = pod.containers().flat_map(used).map(|port| port.to_string()).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            named("container", &bad),
            if bad.len() == 1 { "uses" } else { "use" },
            plural("hostPort", ports.len()),
            ports.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

fn host_probes(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    const PLACES: &[&str] =
        &["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    if minor < 34 {
        return None;
    }
    let hosts = |container: &Value| -> Vec<String> {
        let places = PLACES.iter().filter_map(|place| container.pointer(place));
        let hosts = places.flat_map(|place| ["httpGet", "tcpSocket"].map(|kind| at(place, &[kind, "host"])));
        hosts.map(text).filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let bad: BTreeSet<String> =
        pod.containers_that(|container| !hosts(container).is_empty()).into_iter().collect();
    let bad: Vec<String> = bad.into_iter().collect();
    let all: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            named("container", &bad),
            if bad.len() == 1 { "uses" } else { "use" },
            plural("probe or lifecycle host", all.len()),
            quoted(all)
        ),
    })
}

fn privileged(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let bad = pod.containers_that(|it| truth(at(it, &["securityContext", "privileged"])));
    (!bad.is_empty()).then(|| Fault {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", named("container", &bad)),
    })
}

fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor >= 35 && pod.has_own_users() { None } else { any_proc_mount(pod) }
}

/// Masks of `/proc` other than the default.
pub fn any_proc_mount(pod: &Pod<'_>) -> Option<Fault> {
    fn of(container: &Value) -> Option<&str> {
        at(container, &["securityContext", "procMount"]).as_str().filter(|it| *it != "Default")
    }
    let bad = pod.containers_that(|container| of(container).is_some());
    let values: BTreeSet<&str> = pod.containers().filter_map(of).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "procMount",
        detail: format!(
            "{} must not set securityContext.procMount to {}",
            named("container", &bad),
            quoted(values)
        ),
    })
}

fn selinux(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && minor >= 31)
    };
    let has = |options: &Value, name: &str| !text(at(options, &[name])).is_empty();
    let kind = |options: &Value| text(at(options, &["type"])).to_owned();
    let bad = |options: &Value| !allowed(&kind(options)) || has(options, "user") || has(options, "role");
    let setters = pod.setters(&["seLinuxOptions"], |options| bad(options).then(|| kind(options)));
    if setters.is_empty() {
        return None;
    }
    let types: Vec<&String> = setters.values.iter().filter(|it| !allowed(it)).collect();
    let mut faults = Vec::new();
    if !types.is_empty() {
        faults.push(format!("{} {}", plural("type", types.len()), quoted(types)));
    }
    for name in ["user", "role"] {
        if !pod.setters(&["seLinuxOptions", name], |it| (it != "").then(String::new)).is_empty() {
            faults.push(format!("{name} may not be set"));
        }
    }
    Some(Fault {
        reason: "seLinuxOptions",
        detail: format!(
            "{} set forbidden securityContext.seLinuxOptions: {}",
            setters.shown().join(" and "),
            faults.join("; ")
        ),
    })
}

fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor < 19 { annotated_seccomp(pod) } else { unconfined_seccomp(pod) }
}

/// Profiles of seccomp that are not allowed.
pub fn unconfined_seccomp(pod: &Pod<'_>) -> Option<Fault> {
    let setters = pod.setters(&["seccompProfile"], unconfined);
    (!setters.is_empty()).then(|| Fault {
        reason: "seccompProfile",
        detail: format!(
            "{} must not set securityContext.seccompProfile.type to {}",
            setters.shown().join(" and "),
            quoted(&setters.values)
        ),
    })
}

fn annotated_seccomp(pod: &Pod<'_>) -> Option<Fault> {
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let keys: BTreeSet<String> = pod
        .containers()
        .map(|container| format!("{SECCOMP_OF_CONTAINER}{}", text(at(container, &["name"]))))
        .chain([SECCOMP_OF_POD.to_owned()])
        .collect();
    let bad = pod.annotations().filter(|(key, value)| keys.contains(*key) && !allowed(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "seccompProfile",
        detail: format!(
            "forbidden {} {}",
            plural("annotation", bad.len()),
            bad.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(it, since)| *it == name && minor >= *since);
    let names = list(at(pod.spec(), &["securityContext", "sysctls"])).iter().map(|it| text(&it["name"]));
    let bad: Vec<&str> = names.filter(|name| !allowed(name)).collect();
    (!bad.is_empty()).then(|| Fault { reason: "forbidden sysctls", detail: bad.join(", ") })
}

fn host_process(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let setters = pod.setters(&["windowsOptions", "hostProcess"], |it| truth(it).then(String::new));
    (!setters.is_empty()).then(|| Fault {
        reason: "hostProcess",
        detail: format!(
            "{} must not set securityContext.windowsOptions.hostProcess=true",
            setters.shown().join(" and ")
        ),
    })
}
