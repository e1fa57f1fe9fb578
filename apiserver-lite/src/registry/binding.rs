//! Giving a pod to a node.

use coracle_api::Object;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{change::Changed, metadata};
use crate::error::{ApiError, Subject};

/// What a `Binding` says.
pub struct Binding {
    /// The node.
    pub node: String,
    /// The uid that the pod must have, if given.
    pub uid: String,
    /// The resourceVersion that the pod must have, if given.
    pub resource_version: String,
    /// Annotations for the pod.
    pub annotations: Map<String, Value>,
    /// Labels for the pod.
    pub labels: Map<String, Value>,
}

impl Binding {
    /// The pod with its node.
    ///
    /// # Errors
    /// 409 for a pod that has a node, is gated, or is going away.
    pub fn onto(&self, pod: &Object, now: Timestamp) -> Result<Changed, ApiError> {
        let name = pod.name();
        if let Some(reason) = self.refusal(pod) {
            let subject =
                Subject { group: String::new(), kind: "pods/binding".to_owned(), name: name.to_owned() };
            return Err(ApiError::Conflict { subject, reason });
        }
        let mut object = pod.clone();
        object.section_mut("spec").insert("nodeName".to_owned(), self.node.as_str().into());
        for (field, entries) in [("annotations", &self.annotations), ("labels", &self.labels)] {
            if entries.is_empty() {
                continue;
            }
            let mut all = object.meta(field).and_then(Value::as_object).cloned().unwrap_or_default();
            all.extend(entries.clone());
            object.set_meta(field, Some(Value::Object(all)));
        }
        let status = object.section_mut("status");
        status.remove("nominatedNodeName");
        scheduled(status, now);
        Ok(Changed { object, warnings: Vec::new() })
    }

    fn refusal(&self, pod: &Object) -> Option<String> {
        let name = pod.name();
        if !self.uid.is_empty() && self.uid != pod.uid() {
            let text = format!("UID in precondition: {}, UID in object meta: {}", self.uid, pod.uid());
            return Some(format!("Precondition failed: {text}"));
        }
        let version = pod.resource_version();
        if !self.resource_version.is_empty() && self.resource_version != version {
            let asked = &self.resource_version;
            return Some(format!(
                "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
            ));
        }
        if pod.deleting() {
            return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let node = pod.get_str(&["spec", "nodeName"]);
        if !node.is_empty() {
            return Some(format!("pod {name} is already assigned to node {node:?}"));
        }
        let gates = pod.get(&["spec", "schedulingGates"]).and_then(Value::as_array);
        gates
            .is_some_and(|gates| !gates.is_empty())
            .then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
    }
}

// The condition becomes true; one that was there keeps its place, and its time
// if it was true.
fn scheduled(status: &mut Map<String, Value>, now: Timestamp) {
    let time = metadata::stamp(now);
    let mut condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time,
    });
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|it| it["type"] == "PodScheduled") {
        Some(there) => {
            if there["status"] == "True" {
                condition["lastTransitionTime"] = there["lastTransitionTime"].take();
            }
            *there = condition;
        }
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_scheduled_since_its_first_binding() {
        let scheduled_since = |status: &str, since: &str| json!({ "type": "PodScheduled", "status": status, "lastProbeTime": null, "lastTransitionTime": since });
        let check = |before: Value, expected: Value| {
            let mut status = Map::new();
            status.insert("conditions".to_owned(), before);
            scheduled(&mut status, Timestamp::UNIX_EPOCH);
            assert_eq!(status["conditions"], expected);
        };
        let (now, before) = ("1970-01-01T00:00:00Z", "1969-01-01T00:00:00Z");
        check(json!([]), json!([scheduled_since("True", now)]));
        check(json!([scheduled_since("False", before)]), json!([scheduled_since("True", now)]));
        check(json!([scheduled_since("True", before)]), json!([scheduled_since("True", before)]));
    }
}
