//! Probes of simulated containers: they succeed, after their initial delays,
//! unless the pod's annotation says that they fail.

use coracle_crds::stage::FAILING_PROBES;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};

use super::{Life, after};

/// Seconds between probes, and how many fail, where nothing is said.
const PERIOD: i32 = 10;
const FAILURES: i32 = 3;

/// The probes that fail, as the annotation has them.
#[derive(Clone, Copy, Default)]
pub(super) struct Failing<'a>(&'a str);

impl<'a> Failing<'a> {
    pub(super) fn of(pod: &'a Pod) -> Self {
        let annotations = pod.metadata.annotations.as_ref();
        Self(annotations.and_then(|list| list.get(FAILING_PROBES)).map(String::as_str).unwrap_or_default())
    }

    fn has(self, container: &str, probe: &str) -> bool {
        self.0.split(',').map(str::trim).any(|entry| match entry.split_once('/') {
            Some((name, kind)) => name == container && kind == probe,
            None => entry == probe,
        })
    }
}

impl Life<'_> {
    /// Whether the container has started and is ready.
    pub(super) fn probe(&mut self, container: &Container, status: &mut ContainerStatus, started: Timestamp) {
        let was_ready = status.ready;
        let up = after(started, delay(&container.startup_probe));
        let ready = after(started, delay(&container.startup_probe).max(delay(&container.readiness_probe)));
        let starts = !self.failing.has(&container.name, "startup");
        let answers = starts && !self.failing.has(&container.name, "readiness");
        status.started = Some(starts && up <= self.now);
        status.ready = answers && ready <= self.now;
        for moment in [up, ready] {
            if moment > self.now {
                self.wake(moment);
            }
        }
        if was_ready && !status.ready {
            self.note(true, "Unhealthy", container, "Readiness probe failed: simulated".to_owned());
        }
    }

    /// Whether a probe that fails has the container killed now.
    pub(super) fn is_killed(&mut self, container: &Container, started: Timestamp) -> bool {
        let up = after(started, delay(&container.startup_probe)) <= self.now;
        let (kind, told, probe) = if self.failing.has(&container.name, "startup") {
            ("Startup", "startup", &container.startup_probe)
        } else if up && self.failing.has(&container.name, "liveness") {
            ("Liveness", "liveness", &container.liveness_probe)
        } else {
            return false;
        };
        let number = |value: Option<i32>, usual: i32| i64::from(value.unwrap_or(usual).max(1));
        let period = number(probe.as_ref().and_then(|probe| probe.period_seconds), PERIOD);
        let failures = number(probe.as_ref().and_then(|probe| probe.failure_threshold), FAILURES);
        let at = after(started, delay(probe).saturating_add(period.saturating_mul(failures)));
        if at > self.now {
            self.wake(at);
            return false;
        }
        self.note(true, "Unhealthy", container, format!("{kind} probe failed: simulated"));
        let message = format!("Container {} failed {told} probe, will be restarted", container.name);
        self.note(false, "Killing", container, message);
        true
    }
}

fn delay(probe: &Option<Probe>) -> i64 {
    probe.as_ref().and_then(|probe| probe.initial_delay_seconds).map_or(0, i64::from).max(0)
}
