//! A simulated node as it reports itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::api::resource::Quantity};
use serde_json::{Value, json};

use super::{addresses, fleet::Fleet, leftover};

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

/// What a node of that version declares, of what upstream has switched on.
const FEATURES: [&str; 1] = ["RestartAllContainersOnContainerExits"];

/// Everything that one node may have and another not.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// As the API has them.
    pub(super) taints: Vec<Value>,
    pub(super) capacity: BTreeMap<String, Quantity>,
    pub(super) allocatable: BTreeMap<String, Quantity>,
    /// As the API has them.
    pub(super) images: Vec<Value>,
}

impl Shape {
    /// What the nodes are like that are made without a pool.
    pub(super) fn of(fleet: &Fleet) -> Self {
        let config = &fleet.config;
        Self {
            labels: config.labels.iter().cloned().collect(),
            annotations: [(leftover::FLEET.to_owned(), config.prefix.clone())].into(),
            capacity: quantities(&config.capacity),
            ..Self::default()
        }
    }
}

/// `capacity` as a node reports it.
pub(super) fn quantities(capacity: &Capacity) -> BTreeMap<String, Quantity> {
    let rows = [
        ("cpu", capacity.cpu.as_str()),
        ("memory", &capacity.memory),
        ("pods", &capacity.pods),
        ("ephemeral-storage", &capacity.ephemeral_storage),
        ("hugepages-1Gi", "0"),
        ("hugepages-2Mi", "0"),
    ];
    rows.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect()
}

/// The node of this name and number, as it registers.
pub(super) fn node(
    name: &str,
    number: usize,
    shape: &Shape,
    now: Timestamp,
) -> Result<Node, serde_json::Error> {
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    labels.extend(shape.labels.clone());
    let taints = (!shape.taints.is_empty()).then_some(&shape.taints);
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels, "annotations": shape.annotations},
        "spec": {"taints": taints},
        "status": status(name, number, shape, now),
    }))
}

/// The whole status of the node of this name and number.
pub(super) fn status(name: &str, number: usize, shape: &Shape, now: Timestamp) -> Value {
    let mut allocatable = shape.capacity.clone();
    allocatable.extend(shape.allocatable.clone());
    let mut images = vec![json!({"names": ["registry.k8s.io/pause:3.10.1"], "sizeBytes": 320_448})];
    images.extend(shape.images.iter().cloned());
    let id = format!("{:032x}", number + 1);
    json!({
        "capacity": shape.capacity,
        "allocatable": allocatable,
        "addresses": [
            {"type": "InternalIP", "address": addresses::of_node(number)},
            {"type": "Hostname", "address": name},
        ],
        "conditions": conditions(now),
        "features": {"supplementalGroupsPolicy": true},
        "declaredFeatures": FEATURES,
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": true}}],
        "images": images,
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
