//! The volume with a pod's token, and its mounts.

use serde_json::{Map, Value, json};

use crate::{
    registry::metadata,
    resources::tree::{list, objects_mut, text},
};

const PREFIX: &str = "kube-api-access-";
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
// An hour and a bit: a token of that life is extended for clients that do not
// read it anew.
const SECONDS: i64 = 3607;

/// Mounts the token where nothing else is mounted there.
pub fn mount(spec: &mut Map<String, Value>) {
    let volumes = spec.get("volumes").unwrap_or(&Value::Null);
    let there = list(volumes).iter().map(|volume| text(&volume["name"])).find(|it| it.starts_with(PREFIX));
    let given = there.map(str::to_owned);
    let name = given.clone().unwrap_or_else(|| metadata::generate_name(PREFIX));
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        for container in objects_mut(spec, field) {
            let mounts = container.entry("volumeMounts").or_insert(Value::Null);
            if !mounts.is_array() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount["mountPath"] == PATH) {
                mounts.push(json!({ "name": name, "readOnly": true, "mountPath": PATH }));
                needed = true;
            }
        }
    }
    if given.is_some() || !needed {
        return;
    }
    let volumes = spec.entry("volumes").or_insert(Value::Null);
    if !volumes.is_array() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({ "name": name, "projected": source() }));
    }
}

fn source() -> Value {
    json!({
        "defaultMode": 420,
        "sources": [
            { "serviceAccountToken": { "expirationSeconds": SECONDS, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{
                "path": "namespace",
                "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
            }] } },
        ],
    })
}
