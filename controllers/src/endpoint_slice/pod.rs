//! What a pod means to the services that select it.
//!
//! Shared with the controller of Endpoints, which says the same in its older
//! form.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    framework::{Change, Key, Store, matches_labels},
    pod::{is_ready, is_terminal},
};

/// True when the pod has an address that services may show.
pub(crate) fn is_endpoint(pod: &Pod, terminating_too: bool) -> bool {
    !is_terminal(pod)
        && (terminating_too || pod.metadata.deletion_timestamp.is_none())
        && pod.status.as_ref().is_some_and(|status| {
            !is_empty(status.pod_ip.as_deref()) || status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty())
        })
}

fn is_empty(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

/// The pod's addresses, in the form in which addresses are written.
pub(crate) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// The name that the pod goes by in the service's domain.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let host = spec.hostname.as_ref().filter(|host| !host.is_empty())?;
    let here = spec.subdomain.as_deref().unwrap_or_default()
        == service.metadata.name.as_deref().unwrap_or_default()
        && pod.metadata.namespace == service.metadata.namespace;
    here.then(|| host.clone())
}

/// The number of the pod's port that `port` of a service leads to.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
        None => return Some(port.port),
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().chain(sidecars).find_map(|container| named_port(container, name, port))
}

fn named_port(container: &Container, name: &str, port: &ServicePort) -> Option<i32> {
    let named = container.ports.iter().flatten().find(|candidate| {
        candidate.name.as_deref() == Some(name)
            && protocol(candidate.protocol.as_deref()) == protocol(port.protocol.as_deref())
    });
    named.map(|port| port.container_port)
}

/// The protocol that is meant.
pub(crate) fn protocol(said: Option<&str>) -> &str {
    said.unwrap_or("TCP")
}

/// What selects the service's pods. Without it, or where the service stands
/// for a name elsewhere, somebody else keeps its endpoints.
pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref()
}

/// True when the service has an address of its own.
pub(crate) fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty() && ip != "None")
}

/// The pods that the service selects, by name.
pub(crate) fn selected(pods: &Store<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let Some(selector) = selector(service) else { return Vec::new() };
    let mut pods = pods.in_namespace(service.metadata.namespace.as_deref().unwrap_or_default());
    pods.retain(|pod| matches_labels(Some(selector), pod.metadata.labels.as_ref()));
    pods
}

/// The services whose endpoints a change of a pod may change.
pub(crate) fn concerned(change: &Change<'_, Pod>, services: &Store<Service>) -> Vec<Key> {
    let Some(pod) = change.sides().last() else { return Vec::new() };
    let changed = changed(change);
    let moved = moved(change);
    if !changed && !moved {
        return Vec::new();
    }
    let selects = |service: &Service, pod: &Pod| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| matches_labels(Some(selector), pod.metadata.labels.as_ref()))
    };
    let concerned = |service: &Service| {
        let mut sides = change.sides().map(|side| selects(service, side));
        let (first, second) = (sides.next().unwrap_or(false), sides.next());
        match second {
            None => first,
            Some(second) if changed => first || second,
            Some(second) => first != second || second,
        }
    };
    let candidates = services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    candidates.iter().filter(|service| concerned(service)).map(|it| Key::of(&it.metadata)).collect()
}

/// True when an endpoint of the pod would look different now.
fn changed(change: &Change<'_, Pod>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return true };
    before.metadata.uid != after.metadata.uid
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        || is_ready(before) != is_ready(after)
        || is_terminal(before) != is_terminal(after)
        || addresses(before) != addresses(after)
}

/// True when other services may select the pod now, or name it otherwise.
fn moved(change: &Change<'_, Pod>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return true };
    let names = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    before.metadata.labels != after.metadata.labels || names(before) != names(after)
}
