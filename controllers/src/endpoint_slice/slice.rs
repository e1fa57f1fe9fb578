//! Slices and endpoints: what tells them apart, and what they are made of.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        core::v1::{Node, ObjectReference, Pod, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::pod::{addresses, has_cluster_ip, hostname, protocol, target_port};
use crate::{
    framework::controller_reference,
    pod::{is_ready, node},
};

/// The service that a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who keeps a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Set where the service has no address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
const NAME_LONGEST: usize = 253;

type Labels = BTreeMap<String, String>;

/// What makes an endpoint the same one: the rest may change in place.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity {
    addresses: Vec<String>,
    hostname: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

impl Identity {
    /// That of `endpoint`.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let mut addresses = endpoint.addresses.clone();
        addresses.sort();
        let target = endpoint.target_ref.as_ref();
        Self {
            addresses,
            hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
            namespace: target.and_then(|target| target.namespace.clone()),
            name: target.and_then(|target| target.name.clone()),
        }
    }
}

/// True when two endpoints of one identity say the same.
pub(crate) fn same(one: &Endpoint, other: &Endpoint) -> bool {
    let reference = |endpoint: &Endpoint| {
        endpoint.target_ref.clone().map(|target| ObjectReference { resource_version: None, ..target })
    };
    one.node_name == other.node_name
        && one.zone == other.zone
        && one.conditions.clone().unwrap_or_default() == other.conditions.clone().unwrap_or_default()
        && reference(one) == reference(other)
}

/// What makes the ports of two slices the same, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports(Vec<PortKey>);

/// Name, number, protocol, application protocol.
type PortKey = (Option<String>, Option<i32>, String, Option<String>);

impl Ports {
    /// Of these ports.
    pub(crate) fn of(ports: &[EndpointPort]) -> Self {
        let key = |port: &EndpointPort| {
            let name = port.name.clone().filter(|name| !name.is_empty());
            (name, port.port, protocol(port.protocol.as_deref()).to_owned(), port.app_protocol.clone())
        };
        let mut keys: Vec<_> = ports.iter().map(key).collect();
        keys.sort();
        Self(keys)
    }
}

/// The families that the service has endpoints of.
pub(crate) fn address_types(service: &Service) -> Vec<&'static str> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let families = spec.ip_families.iter().flatten().filter_map(|family| match family.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    });
    let families: Vec<_> = families.collect();
    if !families.is_empty() {
        return families;
    }
    match spec.cluster_ip.as_deref().filter(|_| has_cluster_ip(spec)) {
        Some(ip) if ip.contains(':') => vec!["IPv6"],
        Some(_) => vec!["IPv4"],
        None => vec!["IPv4", "IPv6"],
    }
}

/// The ports that the service leads to on this pod, in the service's order.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = ports.filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(pod, port)?),
            protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    found.collect()
}

/// What the service shows of `pod`; no addresses when it has none of this type.
pub(crate) fn endpoint(pod: &Pod, on: Option<&Node>, service: &Service, address_type: &str) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let published = service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let of_type = |ip: &IpAddr| ip.is_ipv6() == (address_type == "IPv6");
    let zone = on.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
    Endpoint {
        addresses: addresses(pod).iter().filter(|ip| of_type(ip)).map(IpAddr::to_string).collect(),
        conditions: Some(EndpointConditions {
            ready: Some(published || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(pod, service),
        node_name: node(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.filter(|zone| !zone.is_empty()),
        ..Endpoint::default()
    }
}

/// A slice without endpoints, to be named by the server.
pub(crate) fn empty(
    service: &Service,
    manager: &str,
    address_type: &str,
    ports: Vec<EndpointPort>,
) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(prefix(name)),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service, manager)),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        ports: Some(ports),
        endpoints: Some(Vec::new()),
    }
}

/// What the names of the slices of `owner` begin with.
pub(crate) fn prefix(owner: &str) -> String {
    // The dash is left out where it would make the prefix too long for a name.
    if owner.len() < NAME_LONGEST { format!("{owner}-") } else { owner.to_owned() }
}

fn is_reserved(label: &str) -> bool {
    matches!(label, SERVICE_NAME | MANAGED_BY | HEADLESS)
}

/// The service's labels as its slices carry them.
pub(crate) fn labels(service: &Service, manager: &str) -> Labels {
    let mut labels: Labels = own_labels(service.metadata.labels.as_ref());
    if !service.spec.as_ref().is_some_and(has_cluster_ip) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), manager.into());
    labels
}

/// True when the slice's labels are no longer those of its service. Those
/// that are this controller's to write do not count.
pub(crate) fn relabelled(slice: &EndpointSlice, service: &Service) -> bool {
    own_labels(slice.metadata.labels.as_ref()) != own_labels(service.metadata.labels.as_ref())
}

fn own_labels(labels: Option<&Labels>) -> Labels {
    let own = labels.into_iter().flatten().filter(|(key, _)| !is_reserved(key));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// True when the slice is this very service's.
pub(crate) fn owned(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|owner| {
        Some(&owner.uid) == service.metadata.uid.as_ref()
            && owner.kind == "Service"
            && owner.api_version == "v1"
    })
}
