//! What containers are given, and how that changes while they run.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use serde_json::{Value, json};

use super::{Life, Note};
use crate::conditions;

const PENDING: &str = "PodResizePending";
/// Until a node that had no room is looked at again.
const LATER: i64 = 10;

/// Whether a container that runs was given something else than it asks for now.
pub(crate) fn is_resized(pod: &Pod) -> bool {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return false };
    let all = spec.containers.iter().zip(status.container_statuses.iter().flatten());
    let sidecars = spec.init_containers.iter().flatten().zip(status.init_container_statuses.iter().flatten());
    // Both lists are in the order of the spec: a node writes them so.
    all.chain(sidecars).any(|(container, status)| {
        status.name == container.name
            && status.state.as_ref().is_some_and(|state| state.running.is_some())
            && status.resources.as_ref().is_some_and(|has| !is_same(has, container))
    })
}

fn is_same(has: &ResourceRequirements, container: &Container) -> bool {
    let some = |list: &Option<std::collections::BTreeMap<_, _>>| list.clone().filter(|list| !list.is_empty());
    let wants = container.resources.as_ref();
    some(&has.requests) == wants.and_then(|wants| some(&wants.requests))
        && some(&has.limits) == wants.and_then(|wants| some(&wants.limits))
}

impl Life<'_> {
    /// A running container is given what it asks for, at once, where there is room.
    pub(super) fn resize(&mut self, container: &Container, status: &mut ContainerStatus) {
        if self.obstacles.resize.is_none() {
            give(container, status);
        }
    }

    /// One that starts has what it asks for, or still has what it had.
    pub(super) fn give(&mut self, container: &Container, status: &mut ContainerStatus) {
        give(container, status);
        if self.obstacles.resize.is_none() {
            return;
        }
        let before = self.pod.status.as_ref();
        let lists = before.map(|it| [&it.container_statuses, &it.init_container_statuses]);
        let had = lists.into_iter().flatten().flatten().flatten().find(|it| it.name == container.name);
        if let Some(had) = had.filter(|had| had.resources.is_some()) {
            status.allocated_resources.clone_from(&had.allocated_resources);
            status.resources.clone_from(&had.resources);
        }
    }

    /// Conditions and events of a change of what the pod is given.
    pub(super) fn tell_resize(&mut self) {
        let is_pending = |status: &k8s_openapi::api::core::v1::PodStatus| {
            status.conditions.iter().flatten().any(|it| it.type_ == PENDING)
        };
        let before = is_pending(&self.status);
        if let Some(message) = self.obstacles.resize.clone() {
            if !before {
                let told = format!("Pod resize Deferred: {}", self.summary(Some(&message)));
                self.tell_change(true, "ResizeDeferred", told);
            }
            conditions::put(self.pod, &mut self.status, PENDING, Some(("Deferred", message)), self.now);
            self.wake(super::after(self.now, LATER));
            return;
        }
        if before && let Some(conditions) = &mut self.status.conditions {
            conditions.retain(|it| it.type_ != PENDING);
        }
        if is_resized(self.pod) && self.pod.metadata.deletion_timestamp.is_none() {
            self.tell_change(false, "ResizeStarted", format!("Pod resize started: {}", self.summary(None)));
            self.tell_change(
                false,
                "ResizeCompleted",
                format!("Pod resize completed: {}", self.summary(None)),
            );
        }
    }

    fn tell_change(&mut self, warning: bool, reason: &'static str, message: String) {
        self.notes.push(Note { warning, reason, container: String::new(), message });
    }

    /// What the pod asks for, as kubelet writes it in these events.
    fn summary(&self, error: Option<&str>) -> String {
        let of = |containers: &[Container]| -> Vec<String> {
            let each = containers.iter().map(|container| {
                let resources = container.resources.clone().unwrap_or_default();
                format!("{{\"name\":{},\"resources\":{}}}", json!(container.name), json!(resources))
            });
            each.collect()
        };
        let list = |name: &str, items: Vec<String>| match items.is_empty() {
            true => String::new(),
            false => format!("\"{name}\":[{}],", items.join(",")),
        };
        let init = list("initContainers", of(self.spec.init_containers.as_deref().unwrap_or_default()));
        let main = list("containers", of(&self.spec.containers));
        let generation = self.pod.metadata.generation.unwrap_or(0);
        let error = error.map_or(String::new(), |error| format!(",\"error\":{}", Value::from(error)));
        format!("{{{init}{main}\"generation\":{generation}{error}}}")
    }
}

/// A running container has what it is given.
fn give(container: &Container, status: &mut ContainerStatus) {
    let given = container.resources.clone().unwrap_or_default();
    status.allocated_resources = given.requests.clone().filter(|requests| !requests.is_empty());
    status.resources = Some(ResourceRequirements { claims: None, ..given });
}
