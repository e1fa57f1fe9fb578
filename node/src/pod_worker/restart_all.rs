//! `RestartAllContainers`: a container ends in a way that has all of its pod's
//! containers started anew, init containers first.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Life, after, container::back_off};
use crate::conditions;

const CONDITION: &str = "AllContainersRestarting";
const ACTION: &str = "RestartAllContainers";
const REASON: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// Whether the container waits to be started with all others.
pub(super) fn is_reset(status: &ContainerStatus) -> bool {
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(REASON))
}

/// Whether the first of a container's rules that is for `code` has all restarted.
fn restarts_all(container: &Container, code: i32) -> bool {
    let rules = container.restart_policy_rules.iter().flatten();
    let mut matching = rules.filter(|rule| {
        rule.exit_codes
            .as_ref()
            .is_some_and(|on| on.values.iter().flatten().any(|value| *value == code) == (on.operator == "In"))
    });
    matching.next().is_some_and(|rule| rule.action == ACTION)
}

impl Life<'_> {
    fn may_restart_all(&self) -> bool {
        let containers = self.spec.init_containers.iter().flatten().chain(&self.spec.containers);
        containers.into_iter().any(|c| c.restart_policy_rules.iter().flatten().any(|it| it.action == ACTION))
    }

    /// The container whose end has all restarted.
    fn trigger(&self) -> Option<(&ContainerStatus, &ContainerStateTerminated)> {
        let init = self.spec.init_containers.iter().flatten();
        init.chain(&self.spec.containers).find_map(|container| {
            let lists = [&self.status.init_container_statuses, &self.status.container_statuses];
            let mut all = lists.into_iter().flatten().flatten();
            let status = all.find(|status| status.name == container.name)?;
            let ended = status.state.as_ref()?.terminated.as_ref()?;
            restarts_all(container, ended.exit_code).then_some((status, ended))
        })
    }

    /// Takes all containers away, so that they start again; true while that is
    /// all there is to do.
    pub(super) fn restart_all(&mut self) -> bool {
        if !self.may_restart_all() {
            return false;
        }
        let Some((status, ended)) = self.trigger() else { return false };
        let due = after(
            ended.finished_at.as_ref().map_or(self.now, |time| time.0),
            back_off(status.restart_count, ended),
        );
        if due > self.now {
            self.wake(due);
            return true;
        }
        let now = self.now;
        let lists = [&mut self.status.init_container_statuses, &mut self.status.container_statuses];
        lists.into_iter().flatten().flatten().for_each(|status| reset(status, Time(now)));
        conditions::put(self.pod, &mut self.status, CONDITION, None, now);
        true
    }

    /// Says on the pod whether all are to be restarted; only where that may be.
    pub(super) fn tell_restart_of_all(&mut self) {
        if !self.may_restart_all() {
            return;
        }
        let told = ("RestartAllContainersStarted", "container exited with restart policy rule".to_owned());
        let begins = self.trigger().is_some().then_some(told);
        conditions::put(self.pod, &mut self.status, CONDITION, begins, self.now);
    }
}

fn reset(status: &mut ContainerStatus, now: Time) {
    let state = status.state.take().unwrap_or_default();
    let began = state.running.and_then(|running| running.started_at);
    let removed = ContainerStateTerminated {
        exit_code: 137,
        reason: Some(REASON.into()),
        message: Some(MESSAGE.into()),
        container_id: status.container_id.clone(),
        started_at: began,
        finished_at: Some(now),
        ..ContainerStateTerminated::default()
    };
    let ended = state.terminated.unwrap_or(removed);
    status.last_state = Some(ContainerState { terminated: Some(ended), ..ContainerState::default() });
    let waiting = ContainerStateWaiting { reason: Some(REASON.into()), message: Some(MESSAGE.into()) };
    status.state = Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() });
    status.restart_count += 1;
    (status.ready, status.started) = (false, Some(false));
}
