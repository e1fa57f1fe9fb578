//! What is measured of scheduling, under kube-scheduler's names.

use std::{sync::Arc, time::Duration};

use coracle_api::metrics::{Counter, Desc, Family, Gathered, Histogram, Kind, Registry, Sample};

// From a millisecond on, each twice the one before.
const ATTEMPT: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
const SLI: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36, 1310.72, 2621.44, 5242.88,
];

static ATTEMPTS: Desc = Desc {
    name: "scheduler_schedule_attempts_total",
    help: "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be \
           scheduled, while 'error' means an internal scheduler problem.",
    kind: Kind::Counter,
    labels: &["result", "profile"],
};
static ATTEMPT_SECONDS: Desc = Desc {
    name: "scheduler_scheduling_attempt_duration_seconds",
    help: "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
    kind: Kind::Histogram(ATTEMPT),
    labels: &["result", "profile"],
};
static ALGORITHM_SECONDS: Desc = Desc {
    name: "scheduler_scheduling_algorithm_duration_seconds",
    help: "[BETA] Scheduling algorithm latency in seconds",
    kind: Kind::Histogram(ATTEMPT),
    labels: &[],
};
static PREEMPTIONS: Desc = Desc {
    name: "scheduler_preemption_attempts_total",
    help: "[STABLE] Total preemption attempts in the cluster till now",
    kind: Kind::Counter,
    labels: &[],
};
static VICTIMS: Desc = Desc {
    name: "scheduler_preemption_victims",
    help: "[STABLE] Number of selected preemption victims for preemption initiated by a single pod",
    kind: Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
    labels: &[],
};
static POD_ATTEMPTS: Desc = Desc {
    name: "scheduler_pod_scheduling_attempts",
    help: "[STABLE] Number of attempts to successfully schedule a pod.",
    kind: Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0]),
    labels: &[],
};
static POD_SECONDS: Desc = Desc {
    name: "scheduler_pod_scheduling_sli_duration_seconds",
    help: "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and \
           might involve multiple scheduling attempts.",
    kind: Kind::Histogram(SLI),
    labels: &["attempts"],
};
static PENDING: Desc = Desc {
    name: "scheduler_pending_pods",
    help: "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; \
           'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in \
           unschedulableEntities that the scheduler attempted to schedule and failed; 'gated' is the number of \
           unschedulable pods that the scheduler never attempted to schedule because they are gated; \
           'incomplete' means number of pods in incompletePodGroupPods; 'pending' means number of pods in \
           pendingPodGroupPods.",
    kind: Kind::Gauge,
    labels: &["queue"],
};

/// How an attempt ended, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

/// What is counted of scheduling.
pub(crate) struct Measures {
    attempts: Arc<Family<Counter>>,
    attempt_seconds: Arc<Family<Histogram>>,
    algorithm_seconds: Arc<Histogram>,
    preemptions: Arc<Counter>,
    victims: Arc<Histogram>,
    pod_attempts: Arc<Histogram>,
    pod_seconds: Arc<Family<Histogram>>,
}

impl Measures {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            attempts: registry.family(&ATTEMPTS),
            attempt_seconds: registry.family(&ATTEMPT_SECONDS),
            algorithm_seconds: registry.family(&ALGORITHM_SECONDS).with(&[]),
            preemptions: registry.family(&PREEMPTIONS).with(&[]),
            victims: registry.family(&VICTIMS).with(&[]),
            pod_attempts: registry.family(&POD_ATTEMPTS).with(&[]),
            pod_seconds: registry.family(&POD_SECONDS),
        }
    }

    /// A decision was made.
    pub(crate) fn decided(&self, after: Duration) {
        self.algorithm_seconds.observe(after.as_secs_f64());
    }

    /// An attempt has ended.
    pub(crate) fn attempted(&self, outcome: Outcome, profile: &str, after: Duration) {
        let result = match outcome {
            Outcome::Scheduled => "scheduled",
            Outcome::Unschedulable => "unschedulable",
            Outcome::Error => "error",
        };
        self.attempts.with(&[result, profile]).inc();
        self.attempt_seconds.with(&[result, profile]).observe(after.as_secs_f64());
    }

    /// A pod got its node, after so many attempts and so long.
    pub(crate) fn placed(&self, attempts: u32, after: Duration) {
        self.pod_attempts.observe(f64::from(attempts));
        // Upstream tells no more than fifteen apart.
        let label = if attempts >= 15 { "15+".to_owned() } else { attempts.to_string() };
        self.pod_seconds.with(&[&label]).observe(after.as_secs_f64());
    }

    /// Pods are to go for another.
    pub(crate) fn preempts(&self, victims: usize) {
        self.preemptions.inc();
        self.victims.observe(victims as f64);
    }
}

/// Shows, with each scrape, how many pods wait where.
pub(crate) fn pending(registry: &Registry, count: impl Fn() -> [usize; 4] + Send + Sync + 'static) {
    registry.add(Arc::new(move |out: &mut Vec<Gathered>| {
        let [active, backoff, unschedulable, gated] = count();
        let counts = [
            ("active", active),
            ("backoff", backoff),
            ("gated", gated),
            ("incomplete", 0),
            ("pending", 0),
            ("unschedulable", unschedulable),
        ];
        let samples = counts.iter().map(|(queue, count)| Sample::number(&[queue], *count as f64));
        out.push(Gathered { desc: &PENDING, samples: samples.collect() });
    }));
}
