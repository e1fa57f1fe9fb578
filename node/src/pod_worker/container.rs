//! What one container of a pod does.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Life, Note, Role, after, terminated, waiting};
use crate::program::{self, Program};

/// First wait before a container that failed is started again, doubled each time.
const BACKOFF_FIRST: i64 = 10;
const BACKOFF_LONGEST: i64 = 300;
/// From a failed pull to saying that further ones wait.
const PULL_BACKOFF: i64 = 10;

impl Life<'_> {
    /// What a container that may run is doing now.
    pub(super) fn advance(
        &mut self,
        container: &Container,
        before: Option<&ContainerStatus>,
        role: Role,
    ) -> ContainerStatus {
        let state = before.and_then(|status| status.state.clone()).unwrap_or_default();
        if let (Some(status), Some(running)) = (before, &state.running) {
            return self.go_on(container, status, running.started_at.clone(), role);
        }
        if let (Some(status), Some(ended)) = (before, &state.terminated) {
            if !self.restarts(role, ended.exit_code) {
                return status.clone();
            }
            return self.come_back(container, status, ended, role);
        }
        let last =
            before.and_then(|status| status.last_state.as_ref()).and_then(|last| last.terminated.clone());
        if let (Some(status), Some(ended)) = (before, last) {
            return self.come_back(container, status, &ended, role);
        }
        let image = container.image.clone().unwrap_or_default();
        if program::cannot_exist(&image) {
            return self.fail_pull(container, before, &image);
        }
        self.start(container, 0, None, role)
    }

    /// A running container: it ends, becomes ready, or is started anew
    /// because its image was changed.
    fn go_on(
        &mut self,
        container: &Container,
        status: &ContainerStatus,
        started_at: Option<Time>,
        role: Role,
    ) -> ContainerStatus {
        let started = started_at.as_ref().map_or(self.now, |time| time.0);
        let image = container.image.clone().unwrap_or_default();
        if !image.is_empty() && status.image != image {
            if program::cannot_exist(&image) {
                return self.fail_pull(container, Some(status), &image);
            }
            let last = terminated(status, 0, started_at, self.now);
            return self.start(container, status.restart_count + 1, Some(last), role);
        }
        let mut next = status.clone();
        if let Program::Ends { after: lasts, code } = self.program(container, role) {
            let end = after(started, i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX));
            if end <= self.now {
                next.state = Some(terminated(status, code, started_at, self.now));
                (next.ready, next.started) = (role == Role::Init && code == 0, Some(false));
                if self.restarts(role, code) {
                    self.wake(after(self.now, 1));
                }
                return next;
            }
            self.wake(end);
        }
        if role == Role::Init {
            (next.ready, next.started) = (false, Some(true));
        } else {
            self.probe(container, &mut next, started);
        }
        next
    }

    /// Probes of simulated containers succeed, after their initial delays.
    fn probe(&mut self, container: &Container, status: &mut ContainerStatus, started: Timestamp) {
        let delay = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
            probe.as_ref().and_then(|probe| probe.initial_delay_seconds).map_or(0, i64::from).max(0)
        };
        let up = after(started, delay(&container.startup_probe));
        let ready = after(started, delay(&container.startup_probe).max(delay(&container.readiness_probe)));
        (status.started, status.ready) = (Some(up <= self.now), ready <= self.now);
        for moment in [up, ready] {
            if moment > self.now {
                self.wake(moment);
            }
        }
    }

    fn program(&self, container: &Container, role: Role) -> Program {
        let policy = self.spec.restart_policy.as_deref().unwrap_or("Always");
        match role {
            Role::Sidecar => Program::Serves,
            Role::Main if policy == "Always" => Program::Serves,
            Role::Main => program::of(container),
            Role::Init => match program::of(container) {
                Program::Serves => Program::Ends { after: Duration::ZERO, code: 0 },
                ends => ends,
            },
        }
    }

    fn restarts(&self, role: Role, code: i32) -> bool {
        match self.spec.restart_policy.as_deref().unwrap_or("Always") {
            "Never" => role == Role::Sidecar,
            "OnFailure" => code != 0 || role == Role::Sidecar,
            _ => code != 0 || role != Role::Init,
        }
    }

    /// A container that has ended waits out its back-off and starts again.
    fn come_back(
        &mut self,
        container: &Container,
        status: &ContainerStatus,
        ended: &ContainerStateTerminated,
        role: Role,
    ) -> ContainerStatus {
        let doublings = u32::try_from(status.restart_count.clamp(0, 10)).unwrap_or(0);
        let wait = (BACKOFF_FIRST << doublings).min(BACKOFF_LONGEST);
        let due = after(ended.finished_at.as_ref().map_or(self.now, |time| time.0), wait);
        let last = ContainerState { terminated: Some(ended.clone()), ..ContainerState::default() };
        if due <= self.now {
            return self.start(container, status.restart_count + 1, Some(last), role);
        }
        self.wake(due);
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        let message = format!("back-off {wait}s restarting failed container={} pod={name}", container.name);
        let mut next = status.clone();
        next.state = waiting(container, "CrashLoopBackOff", Some(message)).state;
        next.last_state = Some(last);
        (next.ready, next.started) = (false, Some(false));
        next
    }

    fn fail_pull(
        &mut self,
        container: &Container,
        before: Option<&ContainerStatus>,
        image: &str,
    ) -> ContainerStatus {
        let reason = before.and_then(|status| status.state.as_ref()).and_then(|state| state.waiting.as_ref());
        let failed =
            reason.is_some_and(|w| matches!(w.reason.as_deref(), Some("ErrImagePull" | "ImagePullBackOff")));
        let mut next = match failed {
            false => {
                let message = format!("Failed to pull image \"{image}\": not found");
                self.note(true, "Failed", container, message.clone());
                self.note(true, "Failed", container, "Error: ErrImagePull".into());
                self.wake(after(self.now, PULL_BACKOFF));
                waiting(container, "ErrImagePull", Some(message))
            }
            true => {
                let message = format!("Back-off pulling image \"{image}\"");
                if reason.is_some_and(|w| w.reason.as_deref() == Some("ErrImagePull")) {
                    self.note(false, "BackOff", container, message.clone());
                    self.note(true, "Failed", container, "Error: ImagePullBackOff".into());
                }
                waiting(container, "ImagePullBackOff", Some(message))
            }
        };
        if let Some(before) = before {
            next.restart_count = before.restart_count;
        }
        next
    }

    fn start(
        &mut self,
        container: &Container,
        restarts: i32,
        last: Option<ContainerState>,
        role: Role,
    ) -> ContainerStatus {
        let image = container.image.clone().unwrap_or_default();
        let message =
            format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
        self.note(false, "Pulled", container, message);
        self.note(false, "Created", container, "Container created".into());
        self.note(false, "Started", container, "Container started".into());
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let status = ContainerStatus {
            name: container.name.clone(),
            image_id: image_id(&image),
            image,
            container_id: Some(container_id(uid, &container.name, restarts)),
            restart_count: restarts,
            last_state: last,
            state: Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(self.now)) }),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        };
        self.go_on(container, &status, Some(Time(self.now)), role)
    }

    fn note(&mut self, warning: bool, reason: &'static str, container: &Container, message: String) {
        self.notes.push(Note { warning, reason, container: container.name.clone(), message });
    }
}

/// A made-up digest that stays the same for the same image.
fn image_id(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let tag_at = name.rfind('/').map_or(0, |at| at + 1);
    let colon = name.get(tag_at..).and_then(|rest| rest.find(':')).map(|at| tag_at + at);
    let repository = colon.and_then(|at| name.get(..at)).unwrap_or(name);
    format!("{repository}@sha256:{}", digest(&[image]))
}

fn container_id(uid: &str, name: &str, restarts: i32) -> String {
    format!("simulated://{}", digest(&[uid, name, &restarts.to_string()]))
}

/// 64 hexadecimal digits out of `parts` (FNV-1a, four times).
fn digest(parts: &[&str]) -> String {
    let mut digest = String::with_capacity(64);
    for round in 0..4u8 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in [round].into_iter().chain(parts.iter().flat_map(|part| part.bytes().chain([0]))) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        digest += &format!("{hash:016x}");
    }
    digest
}
