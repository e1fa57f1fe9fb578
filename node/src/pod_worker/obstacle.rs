//! What stands in a pod's way on its node.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::PodStatus;

use super::{Life, after, waiting};

/// What keeps a pod from starting, as the node found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// The node does not take the pod at all.
    pub rejection: Option<Rejection>,
    /// What kubelet says of volumes that cannot be mounted.
    pub volumes: Vec<String>,
    /// What the node lacks for a pod that runs and asks for more.
    pub resize: Option<String>,
    /// Containers whose environment cannot be made, and what is missing.
    pub containers: Vec<(String, String)>,
}

/// Why a node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Upstream's reason.
    pub reason: Cow<'static, str>,
    /// Upstream's text.
    pub message: String,
}

/// Longest time between two tries to mount a volume.
const LONGEST: i64 = 122;

impl Life<'_> {
    /// Turns the pod away when the node does not take it; only before it has begun.
    pub(super) fn reject(&mut self) -> bool {
        let Some(rejection) = &self.obstacles.rejection else { return false };
        if self.status.start_time.is_some() {
            return false;
        }
        let rejection = rejection.clone();
        // Reasons of events are a closed set; that of the status names the resource.
        let told = if let Cow::Borrowed(reason) = rejection.reason { reason } else { "OutOfResource" };
        self.tell_pod(told, rejection.message.clone());
        self.status = PodStatus {
            phase: Some("Failed".into()),
            reason: Some(rejection.reason.into_owned()),
            message: Some(format!("Pod was rejected: {}", rejection.message)),
            observed_generation: self.pod.metadata.generation,
            ..self.status.clone()
        };
        for condition in self.status.conditions.iter_mut().flatten() {
            condition.observed_generation = self.pod.metadata.generation;
        }
        true
    }

    /// Waits for volumes that cannot be mounted yet; true while it does.
    pub(super) fn awaits_volumes(&mut self) -> bool {
        if self.obstacles.volumes.is_empty() || self.status.pod_ip.is_some() {
            return false;
        }
        for message in self.obstacles.volumes.clone() {
            self.tell_pod("FailedMount", message);
        }
        let spec = self.spec;
        let has_init = spec.init_containers.as_ref().is_some_and(|list| !list.is_empty());
        let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let all = |list: &[_]| list.iter().map(|c| waiting(c, reason, None)).collect::<Vec<_>>();
        self.status.phase = Some("Pending".into());
        self.status.init_container_statuses =
            has_init.then(|| all(spec.init_containers.as_deref().unwrap_or_default()));
        self.status.container_statuses = Some(all(&spec.containers));
        self.try_again();
        true
    }

    /// What keeps this container from being made.
    pub(super) fn missing(&self, container: &str) -> Option<String> {
        self.obstacles
            .containers
            .iter()
            .find(|(name, _)| name == container)
            .map(|(_, message)| message.clone())
    }

    /// Looks again later, and later each time.
    pub(super) fn try_again(&mut self) {
        let begun = self.status.start_time.as_ref().map_or(self.now, |time| time.0);
        let waited = self.now.duration_since(begun).as_secs().clamp(1, LONGEST);
        self.wake(after(self.now, waited));
    }
}
