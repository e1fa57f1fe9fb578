//! The conditions that a node reports of a pod, in upstream's words.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::pod_worker::{has_ended_before, is_sidecar};

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { status: false, reason: Some(reason), message }
    }
}

/// Puts the conditions that follow from the rest of `status` into it.
/// Conditions of others stay.
pub(crate) fn report(pod: &Pod, status: &mut PodStatus, now: Timestamp) {
    let phase = status.phase.clone().unwrap_or_default();
    let terminal = matches!(phase.as_str(), "Succeeded" | "Failed");
    let sandbox = if terminal || status.pod_ip.is_none() {
        Verdict { status: false, reason: None, message: None }
    } else {
        Verdict::yes()
    };
    let verdicts = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(pod, status, &phase)),
        ("Ready", ready(pod, status, &phase)),
        ("ContainersReady", containers_ready(pod, status, &phase)),
        ("PodScheduled", Verdict::yes()),
    ];
    let mut conditions = status.conditions.take().unwrap_or_default();
    for (type_, verdict) in verdicts {
        set(&mut conditions, type_, verdict, pod.metadata.generation, now);
    }
    status.conditions = Some(conditions);
}

/// Puts the condition `type_` in: true with this reason and message, or false without.
pub(crate) fn put(
    pod: &Pod,
    status: &mut PodStatus,
    type_: &str,
    holds: Option<(&'static str, String)>,
    now: Timestamp,
) {
    let verdict = match holds {
        Some((reason, message)) => {
            Verdict { status: true, reason: Some(reason), message: Some(message).filter(|it| !it.is_empty()) }
        }
        None => Verdict { status: false, reason: None, message: None },
    };
    let mut conditions = status.conditions.take().unwrap_or_default();
    set(&mut conditions, type_, verdict, pod.metadata.generation, now);
    status.conditions = Some(conditions);
}

fn set(
    conditions: &mut Vec<PodCondition>,
    type_: &str,
    verdict: Verdict,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if verdict.status { "True" } else { "False" };
    let mut condition = PodCondition {
        type_: type_.into(),
        status: status.into(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: generation,
        last_probe_time: None,
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(current) => {
            if current.status == condition.status {
                condition.last_transition_time = current.last_transition_time.take();
            }
            *current = condition;
        }
        None => conditions.push(condition),
    }
}

fn statuses<'a>(list: &'a Option<Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    list.iter().flatten().find(|status| status.name == name)
}

fn initialized(pod: &Pod, status: &PodStatus, phase: &str) -> Verdict {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut incomplete = Vec::new();
    for container in containers {
        let done = statuses(&status.init_container_statuses, &container.name)
            .is_some_and(|s| if is_sidecar(container) { s.started == Some(true) } else { s.ready });
        if !done {
            incomplete.push(container.name.as_str());
        }
    }
    let started = status.container_statuses.iter().flatten().any(|s| {
        s.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || has_ended_before(s)
    });
    if phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    if incomplete.is_empty() || started {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", Some(message))
}

fn containers_ready(pod: &Pod, status: &PodStatus, phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", None),
        "Failed" => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let Some(spec) = &pod.spec else { return Verdict::yes() };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let mut unready: Vec<&str> = sidecars
        .filter(|c| !statuses(&status.init_container_statuses, &c.name).is_some_and(|s| s.ready))
        .map(|c| c.name.as_str())
        .collect();
    let main = spec.containers.iter();
    unready.extend(
        main.filter(|c| !statuses(&status.container_statuses, &c.name).is_some_and(|s| s.ready))
            .map(|c| c.name.as_str()),
    );
    if unready.is_empty() {
        return Verdict::yes();
    }
    Verdict::no(
        "ContainersNotReady",
        Some(format!("containers with unready status: [{}]", unready.join(" "))),
    )
}

fn ready(pod: &Pod, status: &PodStatus, phase: &str) -> Verdict {
    let containers = containers_ready(pod, status, phase);
    if !containers.status {
        return containers;
    }
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let mut missing = Vec::new();
    for gate in gates {
        let name = &gate.condition_type;
        match status.conditions.iter().flatten().find(|c| c.type_ == *name) {
            None => missing
                .push(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", Some(missing.join(", ")))
    }
}
