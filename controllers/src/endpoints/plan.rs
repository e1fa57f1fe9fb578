//! Which Endpoints a service should have.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::subsets::{over_capacity, repack, truncate};
use crate::{
    endpoint_slice::{
        pod::{has_cluster_ip, hostname, is_endpoint, target_port},
        slice::HEADLESS,
        trigger::annotate,
    },
    pod::{is_ready, node},
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

type Labels = BTreeMap<String, String>;

/// The Endpoints to be written, unless those that are there say the same.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    current: Option<&Endpoints>,
    trigger: Option<Timestamp>,
) -> Option<Endpoints> {
    let mut subsets = desired(service, pods);
    if current.is_some_and(|current| is_right(service, current, &subsets)) {
        return None;
    }
    let mut meta = match current {
        Some(current) => current.metadata.clone(),
        None => ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
    };
    meta.labels = Some(labels(service));
    annotate(&mut meta.annotations, trigger);
    if truncate(&mut subsets) {
        meta.annotations.get_or_insert_default().insert(OVER_CAPACITY.into(), "truncated".into());
    } else if let Some(annotations) = &mut meta.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    Some(Endpoints { metadata: meta, subsets: Some(subsets) })
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    match service.spec.as_ref().is_some_and(has_cluster_ip) {
        true => labels.remove(HEADLESS),
        false => labels.insert(HEADLESS.into(), String::new()),
    };
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn is_right(service: &Service, current: &Endpoints, desired: &[EndpointSubset]) -> bool {
    let none = Vec::new();
    let now = current.subsets.as_ref().unwrap_or(&none);
    let marked = current.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(OVER_CAPACITY));
    // What a service becomes once it is headless is not looked at, as upstream.
    let own = |labels: Option<&Labels>| -> Labels {
        let own = labels.into_iter().flatten().filter(|(key, _)| *key != HEADLESS && *key != MANAGED_BY);
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let managed = current.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    !marked
        && !over_capacity(now)
        && managed.is_some_and(|by| by == MANAGER)
        && own(current.metadata.labels.as_ref()) == own(service.metadata.labels.as_ref())
        && without_versions(repack(now)) == desired
}

fn without_versions(mut subsets: Vec<EndpointSubset>) -> Vec<EndpointSubset> {
    for subset in &mut subsets {
        let addresses = subset.addresses.iter_mut().chain(&mut subset.not_ready_addresses).flatten();
        for target in addresses.filter_map(|address| address.target_ref.as_mut()) {
            target.resource_version = None;
        }
    }
    subsets
}

fn desired(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.clone().unwrap_or_default();
    let published = spec.publish_not_ready_addresses == Some(true);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut subsets = Vec::new();
    for pod in pods.iter().filter(|pod| is_endpoint(pod, published)) {
        let Some(address) = address(service, pod) else { continue };
        let ready = published || is_ready(pod);
        let mut add = |ports: Vec<EndpointPort>| {
            let addresses = Some(vec![address.clone()]);
            let (ready, unready) = if ready { (addresses, None) } else { (None, addresses) };
            let ports = Some(ports);
            subsets.push(EndpointSubset { addresses: ready, not_ready_addresses: unready, ports });
        };
        if ports.is_empty() && spec.cluster_ip.as_deref() == Some("None") {
            add(Vec::new());
        }
        for port in ports {
            if let Some(number) = target_port(pod, port) {
                add(vec![endpoint_port(port, number)]);
            }
        }
    }
    repack(&subsets)
}

fn endpoint_port(port: &ServicePort, number: i32) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: number,
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

/// The pod's address of the service's first family.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let spec = service.spec.as_ref()?;
    let status = pod.status.as_ref()?;
    let v6 = |ip: &str| ip.contains(':');
    let wanted = match spec.ip_families.as_ref().and_then(|families| families.first()) {
        Some(family) => family == "IPv6",
        None if has_cluster_ip(spec) => v6(spec.cluster_ip.as_deref().unwrap_or_default()),
        None => v6(status.pod_ip.as_deref().unwrap_or_default()),
    };
    let ip = status.pod_ips.iter().flatten().find(|ip| v6(&ip.ip) == wanted)?;
    Some(EndpointAddress {
        ip: ip.ip.clone(),
        hostname: hostname(pod, service),
        node_name: node(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}
