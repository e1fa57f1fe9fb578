//! Fields behind feature gates that are off: they go, unless the object already
//! has them.

use coracle_api::Object;
use serde_json::Value;

// Of the annotations that init containers once were.
const LEGACY: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// A path below the spec; `*` is every item.
type Path = &'static [&'static str];

// One line a gate: where its fields are.
static GATES: &[&[Path]] = &[
    &[&["evictionResponders"]],
    &[&["schedulingGroup"]],
    &[&["volumes", "*", "emptyDir", "mode"]],
    &[
        &["containers", "*", "volumeMounts", "*", "bindMountOptions"],
        &["initContainers", "*", "volumeMounts", "*", "bindMountOptions"],
        &["ephemeralContainers", "*", "volumeMounts", "*", "bindMountOptions"],
    ],
    &[
        &["containers", "*", "lifecycle", "stopSignal"],
        &["initContainers", "*", "lifecycle", "stopSignal"],
        &["ephemeralContainers", "*", "lifecycle", "stopSignal"],
    ],
    PROBE_PROTOCOL,
    &[
        &["containers", "*", "livenessProbe", "grpc", "mode"],
        &["containers", "*", "readinessProbe", "grpc", "mode"],
        &["containers", "*", "startupProbe", "grpc", "mode"],
        &["initContainers", "*", "livenessProbe", "grpc", "mode"],
        &["initContainers", "*", "readinessProbe", "grpc", "mode"],
        &["initContainers", "*", "startupProbe", "grpc", "mode"],
        &["ephemeralContainers", "*", "livenessProbe", "grpc", "mode"],
        &["ephemeralContainers", "*", "readinessProbe", "grpc", "mode"],
        &["ephemeralContainers", "*", "startupProbe", "grpc", "mode"],
    ],
];

// Who the files of volumes belong to.
static USERS: &[Path] = &[
    &["volumes", "*", "secret", "defaultUser"],
    &["volumes", "*", "secret", "items", "*", "user"],
    &["volumes", "*", "configMap", "defaultUser"],
    &["volumes", "*", "configMap", "items", "*", "user"],
    &["volumes", "*", "downwardAPI", "defaultUser"],
    &["volumes", "*", "downwardAPI", "items", "*", "user"],
    &["volumes", "*", "projected", "defaultUser"],
    &["volumes", "*", "projected", "sources", "*", "secret", "items", "*", "user"],
    &["volumes", "*", "projected", "sources", "*", "configMap", "items", "*", "user"],
    &["volumes", "*", "projected", "sources", "*", "downwardAPI", "items", "*", "user"],
    &["volumes", "*", "projected", "sources", "*", "serviceAccountToken", "user"],
    &["volumes", "*", "projected", "sources", "*", "clusterTrustBundle", "user"],
    &["volumes", "*", "projected", "sources", "*", "podCertificate", "user"],
];

static PROBE_PROTOCOL: &[Path] = &[
    &["containers", "*", "livenessProbe", "httpGet", "protocol"],
    &["containers", "*", "readinessProbe", "httpGet", "protocol"],
    &["containers", "*", "startupProbe", "httpGet", "protocol"],
    &["containers", "*", "lifecycle", "postStart", "httpGet", "protocol"],
    &["containers", "*", "lifecycle", "preStop", "httpGet", "protocol"],
    &["initContainers", "*", "livenessProbe", "httpGet", "protocol"],
    &["initContainers", "*", "readinessProbe", "httpGet", "protocol"],
    &["initContainers", "*", "startupProbe", "httpGet", "protocol"],
    &["initContainers", "*", "lifecycle", "postStart", "httpGet", "protocol"],
    &["initContainers", "*", "lifecycle", "preStop", "httpGet", "protocol"],
    &["ephemeralContainers", "*", "livenessProbe", "httpGet", "protocol"],
    &["ephemeralContainers", "*", "readinessProbe", "httpGet", "protocol"],
    &["ephemeralContainers", "*", "startupProbe", "httpGet", "protocol"],
    &["ephemeralContainers", "*", "lifecycle", "postStart", "httpGet", "protocol"],
    &["ephemeralContainers", "*", "lifecycle", "preStop", "httpGet", "protocol"],
];

// Gates of the status.
static STATUS_GATES: &[&[Path]] = &[
    &[&["volumeHealth"]],
    &[&["nodeAllocatableResourceClaimStatuses"]],
    &[
        &["containerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
        &["initContainerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
        &["ephemeralContainerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
    ],
    &[
        &["containerStatuses", "*", "stopSignal"],
        &["initContainerStatuses", "*", "stopSignal"],
        &["ephemeralContainerStatuses", "*", "stopSignal"],
    ],
];

/// Drops them from a pod.
pub fn drop(pod: &mut Object, old: Option<&Object>) {
    annotations(pod.0.get_mut("metadata"));
    let before = old.and_then(|old| old.0.get("spec"));
    if let Some(spec) = pod.0.get_mut("spec") {
        drop_from(GATES, spec, before);
        drop_users(spec, before);
    }
}

/// Drops them from a pod's status.
pub fn drop_status(pod: &mut Object, old: Option<&Object>) {
    let before = old.and_then(|old| old.0.get("status"));
    if let Some(status) = pod.0.get_mut("status") {
        drop_from(STATUS_GATES, status, before);
    }
}

/// Drops them from a pod template.
pub fn drop_template(template: Option<&mut Value>, old: Option<&Value>) {
    let Some(template) = template else { return };
    annotations(template.get_mut("metadata"));
    if let Some(spec) = template.get_mut("spec") {
        let before = old.and_then(|old| old.get("spec"));
        drop_from(GATES, spec, before);
        drop_users(spec, before);
    }
}

fn annotations(metadata: Option<&mut Value>) {
    let Some(metadata) = metadata.and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        let before = annotations.len();
        annotations.retain(|key, _| !LEGACY.contains(&key.as_str()));
        if annotations.is_empty() && before > 0 {
            metadata.remove("annotations");
        }
    }
}

fn drop_from(gates: &[&[Path]], new: &mut Value, old: Option<&Value>) {
    for paths in gates {
        let used = |value: &Value| paths.iter().any(|path| has(value, path));
        if used(new) && !old.is_some_and(used) {
            paths.iter().for_each(|path| remove(new, path));
        }
    }
}

// The users that files of volumes belong to. Upstream looks at the first source
// of each volume only: more of them are refused later.
fn drop_users(spec: &mut Value, old: Option<&Value>) {
    let used = |value: &Value| USERS.iter().any(|path| has(value, path));
    if !used(spec) || old.is_some_and(used) {
        return;
    }
    const SOURCES: [&str; 4] = ["secret", "configMap", "downwardAPI", "projected"];
    const PROJECTED: [&str; 6] =
        ["secret", "downwardAPI", "configMap", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
    for volume in items_mut(spec, "volumes") {
        let Some(source) = SOURCES.into_iter().find(|it| volume.get(*it).is_some_and(|it| !it.is_null()))
        else {
            continue;
        };
        remove(volume, &[source, "defaultUser"]);
        if source != "projected" {
            remove(volume, &[source, "items", "*", "user"]);
            continue;
        }
        let Some(projected) = volume.get_mut(source) else { continue };
        for part in items_mut(projected, "sources") {
            let Some(kind) = PROJECTED.into_iter().find(|it| part.get(*it).is_some_and(|it| !it.is_null()))
            else {
                continue;
            };
            match kind {
                "secret" | "downwardAPI" | "configMap" => remove(part, &[kind, "items", "*", "user"]),
                _ => remove(part, &[kind, "user"]),
            }
        }
    }
}

fn items_mut<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn has(value: &Value, path: &[&str]) -> bool {
    match path.split_first() {
        None => !value.is_null(),
        Some((&"*", rest)) => value.as_array().is_some_and(|list| list.iter().any(|item| has(item, rest))),
        Some((field, rest)) => value.get(*field).is_some_and(|inner| has(inner, rest)),
    }
}

fn remove(value: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        [field] => {
            if let Value::Object(fields) = value {
                fields.remove(*field);
            }
        }
        [first, rest @ ..] if *first == "*" => {
            value.as_array_mut().into_iter().flatten().for_each(|item| remove(item, rest));
        }
        [first, rest @ ..] => {
            let Some(fields) = value.as_object_mut() else { return };
            let Some(inner) = fields.get_mut(*first) else { return };
            let held = has(inner, rest);
            remove(inner, rest);
            // A life cycle with nothing else in it goes as a whole.
            if held && *first == "lifecycle" && inner.as_object().is_some_and(|it| it.is_empty()) {
                fields.remove(*first);
            }
        }
    }
}
