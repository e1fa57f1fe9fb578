//! The restricted level: hardening is a must.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    baseline::{Check, any_proc_mount, confined, unconfined_seccomp},
    pod::{Fault, Pod, named, plural, quoted},
};
use crate::resources::tree::{at, list, set, text};

/// The checks, in upstream's order.
pub static CHECKS: &[Check] = &[
    privilege_escalation,
    capabilities,
    |pod, minor| if minor >= 35 { any_proc_mount(pod) } else { None },
    volumes,
    non_root,
    user,
    seccomp,
];

/// The checks of the baseline that stricter ones stand for, and since when.
pub static REPLACED: &[(&str, u32)] = &[
    ("capabilities_baseline", 22),
    ("procMount", 35),
    ("hostPathVolumes", 0),
    ("seccompProfile_baseline", 19),
];

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const OTHER_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn privilege_escalation(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor < 8 || (minor >= 25 && pod.is_windows()) {
        return None;
    }
    let bad = pod.containers_that(|it| at(it, &["securityContext", "allowPrivilegeEscalation"]) != false);
    (!bad.is_empty()).then(|| Fault {
        reason: "allowPrivilegeEscalation != false",
        detail: format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            named("container", &bad)
        ),
    })
}

fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor < 22 || (minor >= 25 && pod.is_windows()) {
        return None;
    }
    fn of<'a>(container: &'a Value, what: &str) -> &'a [Value] {
        list(at(container, &["securityContext", "capabilities", what]))
    }
    fn added(container: &Value) -> impl Iterator<Item = &str> {
        of(container, "add").iter().map(text).filter(|it| *it != "NET_BIND_SERVICE")
    }
    let keeping = pod.containers_that(|it| !of(it, "drop").iter().any(|name| name == "ALL"));
    let adding = pod.containers_that(|it| added(it).next().is_some());
    let names: BTreeSet<&str> = pod.containers().flat_map(added).collect();
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let containers = named("container", &keeping);
        details.push(format!("{containers} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &adding),
            quoted(names)
        ));
    }
    (!details.is_empty()).then(|| Fault { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn volumes(pod: &Pod<'_>, _minor: u32) -> Option<Fault> {
    let has = |volume: &Value, kinds: &[&'static str]| kinds.iter().copied().find(|it| set(&volume[*it]));
    let bad: Vec<&Value> = pod.volumes().iter().filter(|volume| has(volume, VOLUMES).is_none()).collect();
    let names: Vec<String> = bad.iter().map(|volume| text(&volume["name"]).to_owned()).collect();
    let kinds: BTreeSet<&str> =
        bad.iter().map(|volume| has(volume, OTHER_VOLUMES).unwrap_or("unknown")).collect();
    (!bad.is_empty()).then(|| Fault {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {}",
            named("volume", &names),
            if names.len() == 1 { "uses" } else { "use" },
            plural("restricted volume type", kinds.len()),
            quoted(kinds)
        ),
    })
}

fn non_root(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    const REASON: &str = "runAsNonRoot != true";
    if minor >= 35 && pod.has_own_users() {
        return None;
    }
    let setters = pod.setters(&["runAsNonRoot"], |it| (it == false).then(String::new));
    if !setters.is_empty() {
        let who = setters.shown().join(" and ");
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Fault { reason: REASON, detail });
    }
    if at(pod.spec(), &["securityContext", "runAsNonRoot"]) == true {
        return None;
    }
    let bad = pod.containers_that(|it| !set(at(it, &["securityContext", "runAsNonRoot"])));
    (!bad.is_empty()).then(|| Fault {
        reason: REASON,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &bad)),
    })
}

fn user(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor < 23 || (minor >= 35 && pod.has_own_users()) {
        return None;
    }
    let setters = pod.setters(&["runAsUser"], |it| (it == 0).then(String::new));
    (!setters.is_empty()).then(|| Fault {
        reason: "runAsUser=0",
        detail: format!("{} must not set runAsUser=0", setters.shown().join(" and ")),
    })
}

fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Fault> {
    if minor < 19 || (minor >= 25 && pod.is_windows()) {
        return None;
    }
    if let Some(fault) = unconfined_seccomp(pod) {
        return Some(fault);
    }
    if confined(at(pod.spec(), &["securityContext", "seccompProfile"])) {
        return None;
    }
    let bad = pod.containers_that(|it| !set(at(it, &["securityContext", "seccompProfile"])));
    (!bad.is_empty()).then(|| Fault {
        reason: "seccompProfile",
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named("container", &bad)
        ),
    })
}
