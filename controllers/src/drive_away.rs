//! How a pod is driven away: it says why, and is deleted.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use crate::{
    framework::{Clock, Error, Key, absent},
    pod,
};

/// Gives the pod the condition `DisruptionTarget` with `reason` and `message`,
/// then deletes it. One that has gone, or is another one by now, is left alone.
///
/// # Errors
/// Whatever else the API refuses either with.
pub(crate) async fn drive_away(
    client: &Client,
    pod: &Pod,
    (reason, message): (&str, &str),
    clock: &Clock,
) -> Result<(), Error> {
    let key = Key::of(&pod.metadata);
    let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    if let Some(condition) = pod::disruption(pod, reason, message, clock) {
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let written = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if absent(written)?.is_none() {
            return Ok(());
        }
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    absent(api.delete(&key.name, &params).await).map(drop)
}
