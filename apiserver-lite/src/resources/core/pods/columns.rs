//! The columns of pods.

use coracle_api::Object;
use jiff::Timestamp;
use serde_json::Value;

use crate::resources::{
    Column, age,
    columns::{AGE, NAME, filled_or, wide},
    tree::{field, list, number, section, set, text, truth},
};

/// What a table says of a pod's containers.
struct Summary {
    ready: usize,
    all: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    reason: String,
}

/// Restarts of containers, and when the last of them ended.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += number(&container["restartCount"]);
        let ended = text(&container["lastState"]["terminated"]["finishedAt"]).parse().ok();
        self.last = self.last.max(ended);
    }
}

fn summary(pod: &Object) -> Summary {
    let (spec, status) = (section(pod, "spec"), section(pod, "status"));
    let sidecar = |name: &Value| {
        let containers = list(&spec["initContainers"]);
        containers.iter().any(|it| it["name"] == *name && it["restartPolicy"] == "Always")
    };
    let sidecars = list(&spec["initContainers"]).iter().filter(|it| it["restartPolicy"] == "Always").count();
    let mut out = Summary {
        ready: 0,
        all: list(&spec["containers"]).len() + sidecars,
        restarts: 0,
        last_restart: None,
        reason: reason_of_pod(status),
    };
    let (mut restarts, mut of_sidecars) = (Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (index, container) in list(&status["initContainerStatuses"]).iter().enumerate() {
        restarts.add(container);
        let sidecar = sidecar(&container["name"]);
        if sidecar {
            of_sidecars.add(container);
        }
        let ended = &container["state"]["terminated"];
        if set(ended) && number(&ended["exitCode"]) == 0 {
            continue;
        }
        if sidecar && truth(&container["started"]) {
            out.ready += usize::from(truth(&container["ready"]));
            continue;
        }
        initializing = true;
        let waits = text(&container["state"]["waiting"]["reason"]);
        out.reason = if set(ended) {
            format!("Init:{}", end(ended))
        } else if !waits.is_empty() && waits != "PodInitializing" {
            format!("Init:{waits}")
        } else {
            format!("Init:{index}/{}", list(&spec["initContainers"]).len())
        };
        break;
    }
    if !initializing || condition(status, "Initialized") {
        restarts = of_sidecars;
        started(status, &mut restarts, &mut out);
    }
    out.restarts = restarts.count;
    out.last_restart = restarts.last;
    if pod.deleting() && text(&status["reason"]) == "NodeLost" {
        out.reason = "Unknown".to_owned();
    } else if pod.deleting() && !matches!(text(&status["phase"]), "Succeeded" | "Failed") {
        out.reason = "Terminating".to_owned();
    }
    out
}

fn reason_of_pod(status: &Value) -> String {
    let gated = list(&status["conditions"])
        .iter()
        .any(|it| it["type"] == "PodScheduled" && it["reason"] == "SchedulingGated");
    let reason = match text(&status["reason"]) {
        _ if gated => "SchedulingGated",
        "" => text(&status["phase"]),
        reason => reason,
    };
    reason.to_owned()
}

fn started(status: &Value, restarts: &mut Restarts, out: &mut Summary) {
    let (mut running, mut failed) = (false, None);
    for container in list(&status["containerStatuses"]).iter().rev() {
        restarts.add(container);
        let state = &container["state"];
        let waits = text(&state["waiting"]["reason"]);
        if !waits.is_empty() {
            out.reason = waits.to_owned();
        } else if set(&state["terminated"]) {
            out.reason = end(&state["terminated"]);
            if number(&state["terminated"]["exitCode"]) != 0 {
                failed = Some(out.reason.clone());
            }
        } else if truth(&container["ready"]) && set(&state["running"]) {
            running = true;
            out.ready += 1;
        }
    }
    // What completed beside something that runs has not completed the pod.
    if out.reason == "Completed" {
        if running && condition(status, "Ready") {
            out.reason = "Running".to_owned();
        } else if let Some(reason) = failed {
            out.reason = reason;
        } else if running {
            out.reason = "NotReady".to_owned();
        }
    }
}

fn end(terminated: &Value) -> String {
    match (text(&terminated["reason"]), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition(status: &Value, kind: &str) -> bool {
    list(&status["conditions"]).iter().any(|it| it["type"] == kind && it["status"] == "True")
}

fn restarts(pod: &Object, now: Timestamp) -> Value {
    let summary = summary(pod);
    match summary.last_restart.filter(|_| summary.restarts != 0) {
        None => summary.restarts.to_string().into(),
        Some(last) => {
            let since = age::human(now.duration_since(last).as_secs());
            format!("{} ({since} ago)", summary.restarts).into()
        }
    }
}

fn gates(pod: &Object) -> Value {
    let gates = list(field(pod, &["spec", "readinessGates"]));
    let conditions = list(field(pod, &["status", "conditions"]));
    let open = gates.iter().filter(|gate| {
        let condition = conditions.iter().find(|it| it["type"] == gate["conditionType"]);
        condition.is_some_and(|it| it["status"] == "True")
    });
    if gates.is_empty() { "<none>".into() } else { format!("{}/{}", open.count(), gates.len()).into() }
}

fn address(pod: &Object) -> Value {
    match text(&field(pod, &["status", "podIPs"])[0]["ip"]) {
        "" => "<none>".into(),
        address => address.into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Ready",
        "string",
        "The aggregate readiness state of this pod for accepting traffic.",
        |it, _| {
            let summary = summary(it);
            format!("{}/{}", summary.ready, summary.all).into()
        },
    ),
    Column::new("Status", "string", "The aggregate status of the containers in this pod.", |it, _| {
        summary(it).reason.into()
    }),
    Column::new(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        restarts,
    ),
    AGE,
    wide(Column::new(
        "IP",
        "string",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
        |it, _| address(it),
    )),
    wide(Column::new(
        "Node",
        "string",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
        |it, _| filled_or(it, &["spec", "nodeName"], "<none>"),
    )),
    wide(Column::new(
        "Nominated Node",
        "string",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.",
        |it, _| filled_or(it, &["status", "nominatedNodeName"], "<none>"),
    )),
    wide(Column::new(
        "Readiness Gates",
        "string",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
        |it, _| gates(it),
    )),
];
