//! Pods on a node that is silent are no longer ready.

use k8s_openapi::{
    api::core::v1::{Node, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::NodeLifecycle;
use crate::{
    framework::{Error, Severity, absent},
    pod,
};

impl NodeLifecycle {
    /// Marks the pods of `node` not ready.
    ///
    /// # Errors
    /// The last that failed; the others are marked.
    pub(super) async fn mark_pods_not_ready(&self, node: &str) -> Result<(), Error> {
        let mut outcome = Ok(());
        for pod in self.pods.indexed(pod::BY_NODE, node) {
            if let Err(error) = self.mark_not_ready(&pod).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    pub(super) async fn mark_not_ready(&self, pod: &Pod) -> Result<(), Error> {
        if pod::condition(pod, "Ready").is_none_or(|condition| condition.status == "False") {
            return Ok(());
        }
        let Time(now) = self.clock.time();
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": Time(now)}]},
        }));
        let api = Api::<Pod>::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match absent(api.patch_status(name, &PatchParams::default(), &patch).await) {
            Ok(Some(_)) => {
                self.events.event(pod, Severity::Warning, "NodeNotReady", "Node is not ready");
                Ok(())
            }
            // Gone, or another pod of that name.
            Ok(None) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reports what happened to a node, whose events have its name alone.
    pub(super) fn report(&self, node: &Node, reason: &'static str, what: &str) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let message = format!("Node {name} {what}");
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(name),
            uid: node.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.events.act(regarding, Severity::Normal, reason, "", message);
    }
}
