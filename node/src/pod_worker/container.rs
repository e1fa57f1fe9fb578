//! What one container of a pod does.

use coracle_crds::stage::Exit;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStatus,
        VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Life, Note, Role, after, note, restart_all, terminated, waiting};
use crate::{
    digest::digest,
    program::{self, Program},
};

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
        if let Some(status) = before.filter(|status| restart_all::is_reset(status)) {
            return self.start(container, status.restart_count, status.last_state.clone(), role);
        }
        if let (Some(status), Some(ended)) = (before, &state.terminated) {
            if !self.restarts(container, role, ended.exit_code) {
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
        if let Some(message) = self.missing(&container.name) {
            return self.fail_configuration(container, before, message);
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
        if self.obstacles.resize.is_none() && resized_by_restart(container, status) {
            let last = terminated(status, 0, started_at, self.now);
            return self.start(container, status.restart_count + 1, Some(last), role);
        }
        let mut next = status.clone();
        self.resize(container, &mut next);
        if let Some(exit) = self.exit(container, role) {
            next.state = Some(terminated(status, exit.exit_code, started_at, self.now));
            if let Some(ended) = next.state.as_mut().and_then(|state| state.terminated.as_mut()) {
                ended.reason = exit.reason.clone().or(ended.reason.take());
                ended.message.clone_from(&exit.message);
            }
            return self.ended(container, next, exit.exit_code, role);
        }
        if matches!(role, Role::Main | Role::Sidecar) && self.is_killed(container, started) {
            next.state = Some(terminated(status, 137, started_at, self.now));
            return self.ended(container, next, 137, role);
        }
        if let Program::Ends { after: lasts, code } = self.program(container, role) {
            let end = after(started, i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX));
            if end <= self.now {
                next.state = Some(terminated(status, code, started_at, self.now));
                return self.ended(container, next, code, role);
            }
            self.wake(end);
        }
        match role {
            Role::Init => (next.ready, next.started) = (false, Some(true)),
            Role::Ephemeral => (next.ready, next.started) = (false, None),
            Role::Main | Role::Sidecar => self.probe(container, &mut next, started),
        }
        next
    }

    /// What a Stage says of the end of this container.
    fn exit(&self, container: &Container, role: Role) -> Option<Exit> {
        let meant = |exit: &&Exit| match exit.names.as_slice() {
            [] => role == Role::Main,
            names => names.contains(&container.name),
        };
        self.exits.iter().find(meant).cloned()
    }

    fn ended(
        &mut self,
        container: &Container,
        mut next: ContainerStatus,
        code: i32,
        role: Role,
    ) -> ContainerStatus {
        (next.ready, next.started) = (role == Role::Init && code == 0, Some(false));
        if self.restarts(container, role, code) {
            self.wake(after(self.now, 1));
        }
        next
    }

    /// What is not known is taken to serve where it is to run for ever.
    fn program(&self, container: &Container, role: Role) -> Program {
        match program::of(container) {
            Program::Unknown { .. } if role != Role::Init && self.restarts(container, role, 0) => {
                Program::Serves
            }
            Program::Unknown { after } => Program::Ends { after, code: 0 },
            known => known,
        }
    }

    /// Whether a container that ended with `code` is started again: its own
    /// rules, its own policy, the pod's policy, in that order.
    pub(super) fn restarts(&self, container: &Container, role: Role, code: i32) -> bool {
        if role == Role::Ephemeral {
            return false;
        }
        let listed = |values: &Option<Vec<i32>>| values.iter().flatten().any(|value| *value == code);
        let mut rules =
            container.restart_policy_rules.iter().flatten().filter_map(|rule| rule.exit_codes.as_ref());
        if rules.any(|on| listed(&on.values) == (on.operator == "In")) {
            return true;
        }
        match container.restart_policy.as_deref().or(self.spec.restart_policy.as_deref()).unwrap_or("Always")
        {
            "Never" => false,
            "OnFailure" => code != 0,
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
        let wait = back_off(status.restart_count, ended);
        let due = after(ended.finished_at.as_ref().map_or(self.now, |time| time.0), wait);
        let last = ContainerState { terminated: Some(ended.clone()), ..ContainerState::default() };
        if due <= self.now {
            return self.start(container, status.restart_count + 1, Some(last), role);
        }
        self.wake(due);
        let pod = self.full_name();
        if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
            let message = format!("Back-off restarting failed container {} in pod {pod}", container.name);
            self.note(true, "BackOff", container, message);
        }
        let wait = duration(wait);
        let message = format!("back-off {wait} restarting failed container={} pod={pod}", container.name);
        let mut next = status.clone();
        next.state = waiting(container, "CrashLoopBackOff", Some(message)).state;
        next.last_state = Some(last);
        (next.ready, next.started) = (false, Some(false));
        next
    }

    /// The pod as kubelet names it in messages.
    fn full_name(&self) -> String {
        let meta = &self.pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
    }

    /// Its environment names what is not there.
    fn fail_configuration(
        &mut self,
        container: &Container,
        before: Option<&ContainerStatus>,
        message: String,
    ) -> ContainerStatus {
        self.note(true, "Failed", container, format!("Error: {message}"));
        self.try_again();
        let mut next = waiting(container, "CreateContainerConfigError", Some(message));
        next.restart_count = before.map_or(0, |before| before.restart_count);
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
        let mut status = ContainerStatus {
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
            volume_mounts: mounts(container),
            ..ContainerStatus::default()
        };
        self.give(container, &mut status);
        self.go_on(container, &status, Some(Time(self.now)), role)
    }

    pub(super) fn note(
        &mut self,
        warning: bool,
        reason: &'static str,
        container: &Container,
        message: String,
    ) {
        self.notes.push(Note { warning, ..note(reason, container, message) });
    }
}

/// Seconds between an end and the next start: the first comes at once, and
/// also that of a container that ran for long.
pub(super) fn back_off(restarts: i32, ended: &ContainerStateTerminated) -> i64 {
    let ran = match (&ended.started_at, &ended.finished_at) {
        (Some(started), Some(finished)) => finished.0.duration_since(started.0).as_secs(),
        _ => 0,
    };
    if restarts <= 0 || ran > 2 * BACKOFF_LONGEST {
        return 0;
    }
    let doublings = u32::try_from(restarts - 1).unwrap_or(0).min(10);
    (BACKOFF_FIRST << doublings).min(BACKOFF_LONGEST)
}

/// Seconds as Go writes them.
fn duration(seconds: i64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// What was given differs in something that only a restart changes.
fn resized_by_restart(container: &Container, status: &ContainerStatus) -> bool {
    let Some(has) = &status.resources else { return false };
    let wants = container.resources.clone().unwrap_or_default();
    container.resize_policy.iter().flatten().filter(|policy| policy.restart_policy == "RestartContainer").any(
        |policy| {
            let amount = |list: &Option<std::collections::BTreeMap<String, _>>| {
                list.as_ref().and_then(|list| list.get(&policy.resource_name).cloned())
            };
            amount(&has.requests) != amount(&wants.requests) || amount(&has.limits) != amount(&wants.limits)
        },
    )
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let status = mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.filter(|yes| *yes).map(|_| {
            let wanted = mount.recursive_read_only.as_deref();
            if matches!(wanted, Some("Enabled" | "IfPossible")) { "Enabled" } else { "Disabled" }.to_owned()
        }),
        ..VolumeMountStatus::default()
    });
    Some(status.collect())
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
