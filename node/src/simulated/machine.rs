//! A simulated node as it reports itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::{Fleet, addresses, leftover};

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// A quantity of CPUs.
    pub cpu: String,
    /// A quantity of bytes.
    pub memory: String,
    /// A quantity of bytes.
    pub ephemeral_storage: String,
    /// How many pods.
    pub pods: String,
}

impl Default for Capacity {
    fn default() -> Self {
        let text = |text: &str| text.to_owned();
        Self { cpu: text("32"), memory: text("256Gi"), ephemeral_storage: text("1Ti"), pods: text("110") }
    }
}

/// The kubelet version that nodes report.
const VERSION: &str = "v1.37.2";

/// The node with this number, as it registers.
pub(super) fn node(fleet: &Fleet, number: usize, now: Timestamp) -> Result<Node, serde_json::Error> {
    let name = fleet.names.get(number).cloned().unwrap_or_default();
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    labels.extend(fleet.config.labels.iter().cloned());
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels, "annotations": {leftover::FLEET: fleet.config.prefix}},
        "spec": {},
        "status": status(fleet, number, now),
    }))
}

/// The whole status of the node with this number.
pub(super) fn status(fleet: &Fleet, number: usize, now: Timestamp) -> Value {
    let name = fleet.names.get(number).cloned().unwrap_or_default();
    let capacity = &fleet.config.capacity;
    let resources = json!({
        "cpu": capacity.cpu, "memory": capacity.memory, "pods": capacity.pods,
        "ephemeral-storage": capacity.ephemeral_storage, "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    });
    let id = format!("{:032x}", number + 1);
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {"type": "InternalIP", "address": addresses::of_node(number)},
            {"type": "Hostname", "address": name},
        ],
        "conditions": conditions(now),
        "features": {"supplementalGroupsPolicy": true},
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": true}}],
        "images": [{"names": ["registry.k8s.io/pause:3.10.1"], "sizeBytes": 320_448}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux", "osImage": "Coracle simulated node",
            "kernelVersion": "0.0.0-simulated", "containerRuntimeVersion": format!("simulated://{}", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": VERSION, "kubeProxyVersion": "", "machineID": id, "systemUUID": id, "bootID": id,
        },
    })
}

/// The conditions of a node that is well; their transition times are from now.
pub(super) fn conditions(now: Timestamp) -> Value {
    let time = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    rows.into_iter()
        .map(|(type_, status, reason, message)| {
            json!({"type": type_, "status": status, "reason": reason, "message": message,
                   "lastHeartbeatTime": time, "lastTransitionTime": time})
        })
        .collect()
}

/// The architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
