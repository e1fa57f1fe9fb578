//! A pod as the scheduler sees it, worked out once.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use coracle_controllers::framework::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Serialize;

use crate::{
    resources::{Resources, container_scoring_requests, requests, scoring_requests},
    shape::Shape,
};

/// A pod, and what its spec means.
#[derive(Clone)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its uid.
    pub uid: String,
    /// What it asks for.
    pub requests: Resources,
    /// What it counts as when nodes are compared.
    pub scoring: Resources,
    /// The same while it is to be placed.
    pub wanting: Resources,
    /// The node's ports that it wants.
    pub ports: Vec<HostPort>,
    shape: OnceLock<Shape>,
}

/// A port of a node: protocol, address and number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The address; `0.0.0.0` is all of them.
    pub address: String,
    /// The number.
    pub number: i32,
}

/// The address that stands for all.
const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// True when both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.address == other.address
            || [&self.address, &other.address].iter().any(|address| *address == ANY_ADDRESS);
        self.number == other.number && self.protocol == other.protocol && overlap
    }
}

impl PodInfo {
    /// Works `pod` out.
    pub fn new(pod: Arc<Pod>) -> Self {
        let (requests, scoring, wanting, ports) = match &pod.spec {
            Some(spec) => {
                let wanting = container_scoring_requests(spec);
                (requests(spec), scoring_requests(spec), wanting, host_ports(spec))
            }
            None => Default::default(),
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        Self { uid, pod, requests, scoring, wanting, ports, shape: OnceLock::new() }
    }

    /// What rules that read nodes alone look at of it; worked out when it is
    /// first asked for, as most pods are never placed here.
    pub(crate) fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| Shape::of(self))
    }

    /// Its spec.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// Its place.
    pub fn key(&self) -> Key {
        Key::of(&self.pod.metadata)
    }

    /// The node it is on.
    pub fn node(&self) -> Option<&str> {
        self.spec()?.node_name.as_deref().filter(|node| !node.is_empty())
    }

    /// The node on which room is made for it, as its status says.
    pub fn nominated(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        status.nominated_node_name.as_deref().filter(|node| !node.is_empty())
    }

    /// When it was started; `now` when it has not been yet.
    pub fn started(&self, now: Timestamp) -> Timestamp {
        let status = self.pod.status.as_ref();
        status.and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0)
    }

    /// The scheduler that it asks for.
    pub fn scheduler_name(&self) -> &str {
        let name = self.spec().and_then(|spec| spec.scheduler_name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or(crate::configuration::DEFAULT_NAME)
    }

    /// Its priority.
    pub fn priority(&self) -> i32 {
        self.spec().and_then(|spec| spec.priority).unwrap_or(0)
    }
}

impl fmt::Debug for PodInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}", self.key())
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            Some(HostPort {
                protocol: set(&port.protocol).unwrap_or_else(|| "TCP".into()),
                address: set(&port.host_ip).unwrap_or_else(|| ANY_ADDRESS.into()),
                number,
            })
        })
        .collect()
}
