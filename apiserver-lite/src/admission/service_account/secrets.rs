//! The secrets that a pod may use: all, unless its account says that only its
//! own are.

use std::collections::HashSet;

use coracle_api::Object;
use serde_json::Value;

use crate::resources::tree::{at, field, list, section, set, text};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const CONTAINERS: &[(&str, &str)] = &[("initContainers", "init container"), ("containers", "container")];

/// Whether an account lets its pods use its own secrets only.
pub fn enforced(account: &Object) -> bool {
    // What Go's ParseBool takes for true.
    matches!(account.annotation(ENFORCE), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Why a pod of the account is refused.
pub fn of_pod(account: &Object, pod: &Object) -> Option<String> {
    let mountable = names(section(account, "secrets"));
    let name = account.name();
    for volume in list(field(pod, &["spec", "volumes"])).iter().filter(|it| set(&it["secret"])) {
        let secret = text(at(volume, &["secret", "secretName"]));
        if !mountable.contains(secret) {
            return Some(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not \
                 reference that secret"
            ));
        }
    }
    for (field, what) in CONTAINERS {
        if let Some(reason) = of_containers(pod, field, what, &mountable, name) {
            return Some(reason);
        }
    }
    let pull = names(section(account, "imagePullSecrets"));
    let mut references = list(field(pod, &["spec", "imagePullSecrets"])).iter().enumerate();
    let (index, secret) = references
        .find_map(|(index, it)| Some((index, text(&it["name"]))).filter(|(_, it)| !pull.contains(it)))?;
    Some(format!(
        "imagePullSecrets[{index}].name=\"{secret}\" is not allowed because service account {name} does not \
         reference that imagePullSecret"
    ))
}

/// Why ephemeral containers are refused.
pub fn of_ephemeral(account: &Object, pod: &Object) -> Option<String> {
    let mountable = names(section(account, "secrets"));
    of_containers(pod, "ephemeralContainers", "ephemeral container", &mountable, account.name())
}

/// Why a mirror pod is refused: what the API server has is not for it.
pub fn of_mirror(pod: &Object) -> Option<String> {
    if !pod.get_str(&["spec", "serviceAccountName"]).is_empty() {
        return Some("a mirror pod may not reference service accounts".to_owned());
    }
    if references(pod) {
        return Some("a mirror pod may not reference secrets".to_owned());
    }
    let volumes = list(field(pod, &["spec", "volumes"])).iter();
    let mut sources = volumes.flat_map(|volume| list(at(volume, &["projected", "sources"])));
    sources
        .any(|source| set(&source["serviceAccountToken"]))
        .then(|| "a mirror pod may not use ServiceAccountToken volume projections".to_owned())
}

// Where a volume of each kind names its secret.
const VOLUMES: &[(&str, &str)] = &[
    ("azureFile", "/secretName"),
    ("cephfs", "/secretRef/name"),
    ("cinder", "/secretRef/name"),
    ("csi", "/nodePublishSecretRef/name"),
    ("flexVolume", "/secretRef/name"),
    ("iscsi", "/secretRef/name"),
    ("rbd", "/secretRef/name"),
    ("scaleIO", "/secretRef/name"),
    ("secret", "/secretName"),
    ("storageos", "/secretRef/name"),
];

// Whether a pod uses any secret.
fn references(pod: &Object) -> bool {
    let spec = section(pod, "spec");
    let named = |value: Option<&Value>| value.is_some_and(|name| !text(name).is_empty());
    let of_container = |container: &Value| {
        list(&container["env"]).iter().any(|it| named(it.pointer("/valueFrom/secretKeyRef/name")))
            || list(&container["envFrom"]).iter().any(|it| named(it.pointer("/secretRef/name")))
    };
    let of_volume = |volume: &Value| {
        VOLUMES.iter().any(|(kind, path)| named(volume[*kind].pointer(path)))
            || list(at(volume, &["projected", "sources"])).iter().any(|it| named(it.pointer("/secret/name")))
    };
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    list(&spec["imagePullSecrets"]).iter().any(|it| named(it.get("name")))
        || containers.iter().any(|field| list(&spec[*field]).iter().any(of_container))
        || list(&spec["volumes"]).iter().any(of_volume)
}

fn names(references: &Value) -> HashSet<&str> {
    list(references).iter().map(|it| text(&it["name"])).collect()
}

fn of_containers(
    pod: &Object,
    place: &str,
    what: &str,
    mountable: &HashSet<&str>,
    account: &str,
) -> Option<String> {
    let end = |secret: &str| {
        format!(
            "referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not \
             reference that secret"
        )
    };
    for container in list(field(pod, &["spec", place])) {
        let name = text(&container["name"]);
        for variable in list(&container["env"]) {
            let reference = at(variable, &["valueFrom", "secretKeyRef"]);
            let secret = text(&reference["name"]);
            if set(reference) && !mountable.contains(secret) {
                let variable = text(&variable["name"]);
                return Some(format!("{what} {name} with envVar {variable} {}", end(secret)));
            }
        }
        for source in list(&container["envFrom"]) {
            let secret = text(at(source, &["secretRef", "name"]));
            if set(&source["secretRef"]) && !mountable.contains(secret) {
                return Some(format!("{what} {name} with envFrom {}", end(secret)));
            }
        }
    }
    None
}
