//! What is wrong with a service's cluster address.

use std::net::IpAddr;

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{IPAddress, IPAddressSpec, ParentReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::cluster_ips;
use crate::framework::Key;

/// Says of which family an address is.
pub(super) const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// Says who gave an address out.
pub(super) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who gives cluster addresses out.
pub(super) const ALLOCATOR: &str = "ipallocator.k8s.io";

/// What a look at an address showed; the object that has to be there is with
/// what can be repaired.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    Fine,
    NotAnAddress,
    OutOfRange,
    Missing(Box<IPAddress>),
    WrongReference(Box<IPAddress>),
    Shared,
    WrongLabels(Box<IPAddress>),
}

/// Looks at the cluster address `ip` of `service`. `address` is the object
/// that stands for it, `referenced` the service that this names.
pub(super) fn look(
    service: &Service,
    ip: IpAddr,
    in_range: bool,
    address: Option<&IPAddress>,
    referenced: Option<&Service>,
) -> Finding {
    if !in_range {
        return Finding::OutOfRange;
    }
    let Some(address) = address else { return Finding::Missing(made(service, ip)) };
    let Some(parent) = parent(address) else { return Finding::WrongReference(made(service, ip)) };
    if parent != Key::of(&service.metadata) {
        let text = ip.to_string();
        match referenced {
            None => return Finding::WrongReference(made(service, ip)),
            Some(other) if cluster_ips(other).any(|ip| ip == text) => return Finding::Shared,
            Some(_) => {}
        }
    }
    let label = |name: &str| address.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let labelled = label(FAMILY).is_some_and(|it| it == family(ip))
        && label(MANAGED_BY).is_some_and(|it| it == ALLOCATOR);
    if labelled { Finding::Fine } else { Finding::WrongLabels(made(service, ip)) }
}

/// The service that an address names, if it names one.
pub(super) fn parent(address: &IPAddress) -> Option<Key> {
    let parent = &address.spec.parent_ref;
    let is_service = parent.group.as_deref().unwrap_or_default().is_empty() && parent.resource == "services";
    is_service.then(|| Key::namespaced(parent.namespace.clone().unwrap_or_default(), parent.name.clone()))
}

/// The reason, action and message of the event that tells of `finding`.
pub(super) fn told(
    finding: &Finding,
    service: &Service,
    text: &str,
) -> Option<(&'static str, &'static str, String)> {
    const ALLOCATION: &str = "ClusterIPAllocation";
    let ip = text.parse::<IpAddr>().ok();
    let family = ip.map_or("IPv4", family);
    let ip = ip.map_or_else(|| "<nil>".to_owned(), |ip| ip.to_string());
    Some(match finding {
        Finding::Fine | Finding::WrongLabels(_) => return None,
        Finding::NotAnAddress => (
            "ClusterIPNotValid",
            "ClusterIPValidation",
            format!("Cluster IP {ip} is not a valid IP; please recreate Service"),
        ),
        Finding::OutOfRange => (
            "ClusterIPOutOfRange",
            ALLOCATION,
            format!(
                "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
            ),
        ),
        Finding::Missing(_) => (
            "ClusterIPNotAllocated",
            ALLOCATION,
            format!("Cluster IP [{family}]: {ip} is not allocated; repairing"),
        ),
        Finding::WrongReference(_) => (
            "ClusterIPNotAllocated",
            ALLOCATION,
            format!(
                "the ClusterIP [{family}]: {ip} for Service {} has a wrong reference; repairing",
                Key::of(&service.metadata)
            ),
        ),
        Finding::Shared => (
            "ClusterIPAlreadyAllocated",
            ALLOCATION,
            format!("Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"),
        ),
    })
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "IPv6" } else { "IPv4" }
}

fn made(service: &Service, ip: IpAddr) -> Box<IPAddress> {
    let labels = [(FAMILY, family(ip)), (MANAGED_BY, ALLOCATOR)];
    let parent_ref = ParentReference {
        group: None,
        resource: "services".into(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone().unwrap_or_default(),
    };
    Box::new(IPAddress {
        metadata: ObjectMeta {
            name: Some(ip.to_string()),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec { parent_ref },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, ip: &str) -> Service {
        let spec = json!({ "type": "ClusterIP", "clusterIPs": [ip] });
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "ns" }, "spec": spec }))
            .unwrap()
    }

    fn address(resource: &str, name: &str, by: &str) -> IPAddress {
        let labels = json!({ FAMILY: "IPv4", MANAGED_BY: by });
        let parent = json!({ "resource": resource, "namespace": "ns", "name": name });
        let metadata = json!({ "name": "10.0.0.1", "labels": labels });
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "parentRef": parent } })).unwrap()
    }

    #[test]
    fn what_is_wrong_and_told() {
        let (own, text) = (service("a", "10.0.0.1"), "10.0.0.1");
        let check = |address: Option<IPAddress>, referenced: Option<Service>, expected: &str| {
            let found = look(&own, text.parse().unwrap(), true, address.as_ref(), referenced.as_ref());
            let told = told(&found, &own, text)
                .map_or_else(String::new, |(reason, _, text)| format!("{reason}: {text}"));
            let shown = match found {
                Finding::WrongLabels(_) => "labels".to_owned(),
                _ => told,
            };
            assert_eq!(shown, expected, "{address:?}");
        };
        check(Some(address("services", "a", ALLOCATOR)), None, "");
        check(Some(address("services", "a", "me")), None, "labels");
        check(None, None, "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.0.0.1 is not allocated; repairing");
        let wrong = "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.0.0.1 for Service ns/a has a wrong \
                     reference; repairing";
        check(Some(address("gateways", "a", ALLOCATOR)), None, wrong);
        check(Some(address("services", "b", ALLOCATOR)), None, wrong);
        check(
            Some(address("services", "b", ALLOCATOR)),
            Some(service("b", "10.0.0.1")),
            "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.0.0.1 was assigned to multiple services; please \
             recreate service",
        );
        // The look at the address tells of that one.
        check(Some(address("services", "b", ALLOCATOR)), Some(service("b", "10.0.0.2")), "");
        let outside = look(&own, text.parse().unwrap(), false, None, None);
        let text = told(&outside, &own, text).map(|(_, _, text)| text);
        let expected =
            "Cluster IP [IPv4]: 10.0.0.1 is not within any configured Service CIDR; please recreate service";
        assert_eq!(text.as_deref(), Some(expected));
    }
}
