//! A simulated pod's life.
//!
//! [`step`] is pure: from the pod as the API shows it, and the time, to the
//! status it has now and when to look again. All state is in the pod's own
//! status, so a node that is started again goes on where it was.

mod container;
mod obstacle;
mod probe;
mod resize;
mod restart_all;

use std::time::Duration;

use coracle_crds::stage::Exit;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
        EphemeralContainer, HostIP, Pod, PodIP, PodSpec, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

pub use obstacle::{Obstacles, Rejection};
use probe::Failing;
pub(crate) use resize::is_resized;

use crate::{
    conditions,
    program::{self, Program},
};

/// Where a pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The node's address.
    pub host_ip: String,
    /// The pod's address.
    pub pod_ip: String,
    /// What keeps the pod from starting there.
    pub obstacles: Obstacles,
}

/// What a look at a pod leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The status to write, when it differs.
    pub status: Option<PodStatus>,
    /// The pod has ended and can go from the API.
    pub remove: bool,
    /// When to look again.
    pub again: Option<Duration>,
    /// What to tell the user.
    pub notes: Vec<Note>,
}

/// An event of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// It needs attention.
    pub warning: bool,
    /// Upstream's reason.
    pub reason: &'static str,
    /// The container concerned; none where it is about the pod.
    pub container: String,
    /// Upstream's text.
    pub message: String,
}

/// True for an init container that keeps running.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What `pod` does at `now`.
pub fn step(pod: &Pod, place: &Place, now: Timestamp) -> Step {
    end(pod, place, &[], now)
}

/// What `pod` does at `now`, when containers of it end as `exits` say.
pub(crate) fn end(pod: &Pod, place: &Place, exits: &[Exit], now: Timestamp) -> Step {
    let (Some(spec), now) = (&pod.spec, whole(now)) else { return Step::default() };
    let before = pod.status.clone().unwrap_or_default();
    let (status, obstacles) = (before.clone(), &place.obstacles);
    let failing = Failing::of(pod);
    let mut life = Life { pod, spec, now, obstacles, exits, failing, status, next: None, notes: Vec::new() };
    let remove = life.live(place);
    // Looked at again only for a reason: a finished pod needs nothing more.
    let again = life.next.map(|at| at.duration_since(now).max(SignedDuration::from_millis(1)).unsigned_abs());
    let changed = life.status != before;
    Step {
        status: changed.then_some(life.status),
        remove,
        again: again.filter(|_| !remove),
        notes: life.notes,
    }
}

struct Life<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    now: Timestamp,
    obstacles: &'a Obstacles,
    exits: &'a [Exit],
    failing: Failing<'a>,
    status: PodStatus,
    /// The earliest moment at which something changes by itself.
    next: Option<Timestamp>,
    notes: Vec<Note>,
}

impl Life<'_> {
    /// Lives up to now; true when the pod is to be removed.
    fn live(&mut self, place: &Place) -> bool {
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if self.is_terminal() {
            // A change of what has ended is still seen; one that goes is not written again.
            if !deleted && self.status.observed_generation != self.pod.metadata.generation {
                self.status.observed_generation = self.pod.metadata.generation;
                conditions::report(self.pod, &mut self.status, self.now);
            }
            return deleted;
        }
        if self.reject() {
            return deleted;
        }
        self.begin(place);
        if let Some(stop) = self.stop_time() {
            if stop <= self.now {
                self.stop();
                return true;
            }
            self.wake(stop);
        }
        if self.is_overdue() {
            self.stop();
            self.status.phase = Some("Failed".into());
            self.status.reason = Some("DeadlineExceeded".into());
            self.status.message =
                Some("Pod was active on the node longer than the specified deadline".into());
        } else if !deleted && !self.awaits_volumes() {
            self.settle(place);
            if !self.restart_all() {
                self.run_containers();
                self.tell_restart_of_all();
            }
        }
        self.tell_resize();
        conditions::report(self.pod, &mut self.status, self.now);
        false
    }

    fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    fn wake(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    fn tell_pod(&mut self, reason: &'static str, message: String) {
        self.notes.push(Note { warning: true, reason, container: String::new(), message });
    }

    /// The node has taken the pod.
    fn begin(&mut self, place: &Place) {
        let status = &mut self.status;
        status.observed_generation = self.pod.metadata.generation;
        status.start_time.get_or_insert(Time(self.now));
        status.host_ip.get_or_insert_with(|| place.host_ip.clone());
        status.host_ips.get_or_insert_with(|| vec![HostIP { ip: place.host_ip.clone() }]);
    }

    /// Gives the pod its address.
    fn settle(&mut self, place: &Place) {
        let status = &mut self.status;
        let own = if self.spec.host_network == Some(true) { &place.host_ip } else { &place.pod_ip };
        let address = status.pod_ip.get_or_insert_with(|| own.clone()).clone();
        status.pod_ips.get_or_insert_with(|| vec![PodIP { ip: address }]);
    }

    /// When a deleted pod's containers have stopped: at once, or after the
    /// longest hook, but within the grace period.
    fn stop_time(&self) -> Option<Timestamp> {
        let deadline = self.pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
        let asked = after(deadline, -grace);
        let hooks = self.spec.containers.iter().map(|c| program::pre_stop(c.lifecycle.as_ref())).max();
        let hook = i64::try_from(hooks.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        Some(after(asked, hook.min(grace)))
    }

    fn is_overdue(&mut self) -> bool {
        let (Some(limit), Some(start)) = (self.spec.active_deadline_seconds, &self.status.start_time) else {
            return false;
        };
        let deadline = after(start.0, limit);
        if deadline <= self.now {
            return true;
        }
        self.wake(deadline);
        false
    }

    /// Stops what runs, and ends the pod.
    fn stop(&mut self) {
        let mut failed = false;
        let spec = self.spec;
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let serves = program::of(container) == Program::Serves
                || self.spec.restart_policy.as_deref().unwrap_or("Always") == "Always";
            let lists = [&mut self.status.init_container_statuses, &mut self.status.container_statuses];
            let Some(status) = lists.into_iter().flatten().flatten().find(|s| s.name == container.name)
            else {
                continue;
            };
            if let Some(running) = status.state.as_ref().and_then(|state| state.running.clone()) {
                // What serves ends well when it is told to; a command is killed.
                let code = if serves { 0 } else { 137 };
                status.state = Some(terminated(status, code, running.started_at, self.now));
                (status.ready, status.started) = (false, Some(false));
                let message = format!("Stopping container {}", container.name);
                self.notes.push(note("Killing", container, message));
            }
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            failed |= ended.is_some_and(|ended| ended.exit_code != 0);
        }
        self.stop_ephemeral();
        let started = self
            .status
            .container_statuses
            .iter()
            .flatten()
            .any(|s| s.state.as_ref().is_some_and(|state| state.terminated.is_some()));
        self.status.phase = Some(if failed || !started { "Failed" } else { "Succeeded" }.into());
        conditions::report(self.pod, &mut self.status, self.now);
    }

    fn run_containers(&mut self) {
        let initialized = self.run_init_containers();
        let failed_init = self.status.phase.as_deref() == Some("Failed");
        let mut statuses = Vec::with_capacity(self.spec.containers.len());
        for container in &self.spec.containers {
            let before = find(&self.pod.status, |status| &status.container_statuses, &container.name);
            statuses.push(if initialized {
                self.advance(container, before, Role::Main)
            } else {
                before.cloned().unwrap_or_else(|| waiting(container, "PodInitializing", None))
            });
        }
        if !failed_init {
            self.status.phase = Some(self.phase(initialized, &statuses).into());
        }
        self.status.container_statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
        self.run_ephemeral();
        if self.is_terminal() {
            self.stop_sidecars();
            self.stop_ephemeral();
            self.next = None;
        }
    }

    /// Runs them one after the other; true when the pod's own containers may run.
    fn run_init_containers(&mut self) -> bool {
        let containers = self.spec.init_containers.as_deref().unwrap_or_default();
        let mut statuses = Vec::with_capacity(containers.len());
        let mut open = true;
        for container in containers {
            let before = find(&self.pod.status, |status| &status.init_container_statuses, &container.name);
            if !open {
                statuses.push(before.cloned().unwrap_or_else(|| waiting(container, "PodInitializing", None)));
                continue;
            }
            let role = if is_sidecar(container) { Role::Sidecar } else { Role::Init };
            let status = self.advance(container, before, role);
            open = if role == Role::Sidecar { status.started == Some(true) } else { status.ready };
            let failed =
                exit_code(&status).is_some_and(|code| code != 0 && !self.restarts(container, role, code));
            if role == Role::Init && failed {
                self.status.phase = Some("Failed".into());
            }
            statuses.push(status);
        }
        self.status.init_container_statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
        open
    }

    /// Debugging containers run once, whatever the others do.
    fn run_ephemeral(&mut self) {
        let Some(list) = self.spec.ephemeral_containers.as_ref().filter(|list| !list.is_empty()) else {
            return;
        };
        let mut statuses = Vec::with_capacity(list.len());
        for container in list.iter().map(as_container) {
            let before =
                find(&self.pod.status, |status| &status.ephemeral_container_statuses, &container.name);
            statuses.push(self.advance(&container, before, Role::Ephemeral));
        }
        self.status.ephemeral_container_statuses = Some(statuses);
    }

    fn stop_ephemeral(&mut self) {
        let now = self.now;
        for status in self.status.ephemeral_container_statuses.iter_mut().flatten() {
            if let Some(running) = status.state.as_ref().and_then(|state| state.running.clone()) {
                status.state = Some(terminated(status, 137, running.started_at, now));
            }
        }
    }

    fn stop_sidecars(&mut self) {
        let now = self.now;
        for status in self.status.init_container_statuses.iter_mut().flatten() {
            if let Some(running) = status.state.as_ref().and_then(|state| state.running.clone()) {
                status.state = Some(terminated(status, 0, running.started_at, now));
                (status.ready, status.started) = (false, Some(false));
            }
        }
    }

    fn phase(&self, initialized: bool, statuses: &[ContainerStatus]) -> &'static str {
        let has = |status: &ContainerStatus, what: fn(&ContainerState) -> bool| {
            status.state.as_ref().is_some_and(what)
        };
        let unstarted =
            statuses.iter().any(|s| has(s, |state| state.waiting.is_some()) && !has_ended_before(s));
        let all_ended = statuses.iter().all(|s| has(s, |state| state.terminated.is_some()));
        // All are started anew: they have run before.
        let again = !statuses.is_empty() && statuses.iter().all(has_ended_before);
        if !initialized && again {
            return "Running";
        }
        if !initialized || unstarted {
            return "Pending";
        }
        let mut ended = self.spec.containers.iter().zip(statuses.iter().filter_map(exit_code));
        let comes_back = ended.any(|(container, code)| self.restarts(container, Role::Main, code));
        if !all_ended || comes_back || statuses.is_empty() {
            return "Running";
        }
        match statuses.iter().all(|s| exit_code(s) == Some(0)) {
            true => "Succeeded",
            false => "Failed",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Init,
    Sidecar,
    Ephemeral,
}

fn find<'a>(
    status: &'a Option<PodStatus>,
    list: impl Fn(&PodStatus) -> &Option<Vec<ContainerStatus>>,
    name: &str,
) -> Option<&'a ContainerStatus> {
    list(status.as_ref()?).iter().flatten().find(|status| status.name == name)
}

/// What an ephemeral container has in common with the others.
fn as_container(ephemeral: &EphemeralContainer) -> Container {
    Container {
        name: ephemeral.name.clone(),
        image: ephemeral.image.clone(),
        command: ephemeral.command.clone(),
        args: ephemeral.args.clone(),
        stdin: ephemeral.stdin,
        env: ephemeral.env.clone(),
        env_from: ephemeral.env_from.clone(),
        volume_mounts: ephemeral.volume_mounts.clone(),
        ..Container::default()
    }
}

fn note(reason: &'static str, container: &Container, message: String) -> Note {
    Note { warning: false, reason, container: container.name.clone(), message }
}

/// The API shows a last state that is empty where there was none.
pub(crate) fn has_ended_before(status: &ContainerStatus) -> bool {
    status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}

fn waiting(container: &Container, reason: &str, message: Option<String>) -> ContainerStatus {
    let waiting = ContainerStateWaiting { reason: Some(reason.into()), message };
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        state: Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() }),
        ..ContainerStatus::default()
    }
}

fn terminated(
    status: &ContainerStatus,
    code: i32,
    started_at: Option<Time>,
    now: Timestamp,
) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.into()),
            container_id: status.container_id.clone(),
            started_at,
            finished_at: Some(Time(now)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(limit)
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
