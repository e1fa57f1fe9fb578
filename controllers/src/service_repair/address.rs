//! What is wrong with an address that the allocator gave out.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Service, networking::v1::IPAddress};

use super::{
    cluster_ips,
    service::{ALLOCATOR, MANAGED_BY, parent},
};
use crate::framework::Key;

/// The longest that a service is on its way after its address.
const CREATION: Duration = Duration::from_secs(60);
/// The same for a change of a service that is there.
const CHANGE: Duration = Duration::from_secs(5);

/// What a look at an address showed.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    Fine,
    /// What is missing may still be on its way for so long.
    Early(Duration),
    /// It has to go.
    Wrong {
        reason: &'static str,
        message: String,
    },
}

/// Looks at `address`. `service` is the one that it names.
pub(super) fn look(address: &IPAddress, service: Option<&Service>, now: Timestamp) -> Finding {
    let labels = address.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(MANAGED_BY)).is_none_or(|by| by != ALLOCATOR) {
        return Finding::Fine;
    }
    let name = address.metadata.name.as_deref().unwrap_or_default();
    let Some(named) = parent(address) else {
        let shown = shown(address);
        let message = format!(
            "IPAddress {name} appears to have been modified, not referencing a Service {shown}: cleaning up"
        );
        return Finding::Wrong { reason: "IPAddressNotAllocated", message };
    };
    let created = address.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age: Duration =
        created.map_or(CREATION, |created| now.duration_since(created).try_into().unwrap_or_default());
    let left = |grace: Duration| grace.checked_sub(age).filter(|left| !left.is_zero());
    let Some(service) = service else {
        return match left(CREATION) {
            Some(left) => Finding::Early(left),
            None => leaked(name, &named),
        };
    };
    if cluster_ips(service).any(|ip| ip == name) {
        return Finding::Fine;
    }
    let is_external = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    if let Some(left) = left(CREATION).filter(|_| is_external) {
        return Finding::Early(left);
    }
    let is_newer = created > service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if left(CHANGE).is_some() && is_newer {
        return Finding::Early(CHANGE);
    }
    let message = format!("IPAddress: {name} for Service {named} has a wrong reference; cleaning up");
    Finding::Wrong { reason: "IPAddressWrongReference", message }
}

fn leaked(name: &str, named: &Key) -> Finding {
    let message = format!("IPAddress: {name} for Service {named} appears to have leaked: cleaning up");
    Finding::Wrong { reason: "IPAddressNotAllocated", message }
}

// As Go shows it.
fn shown(address: &IPAddress) -> String {
    let parent = &address.spec.parent_ref;
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    format!(
        "&ParentReference{{Group:{},Resource:{},Namespace:{},Name:{},}}",
        text(&parent.group),
        parent.resource,
        text(&parent.namespace),
        parent.name
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> String {
        Timestamp::from_second(second).unwrap().to_string()
    }

    fn address(resource: &str, by: &str) -> IPAddress {
        let metadata = json!({
            "name": "10.0.0.1", "labels": { MANAGED_BY: by }, "creationTimestamp": at(100),
        });
        let parent = json!({ "group": "", "resource": resource, "namespace": "ns", "name": "a" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "parentRef": parent } })).unwrap()
    }

    fn service(created: i64, spec: Value) -> Option<Service> {
        let metadata = json!({ "name": "a", "namespace": "ns", "creationTimestamp": at(created) });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    #[test]
    fn what_is_wrong() {
        let check = |address: &IPAddress, service: Option<Service>, now: i64, expected: Value| {
            let found = match look(address, service.as_ref(), Timestamp::from_second(now).unwrap()) {
                Finding::Fine => json!("fine"),
                Finding::Early(left) => json!(left.as_secs()),
                Finding::Wrong { reason, message } => json!(format!("{reason}: {message}")),
            };
            assert_eq!(found, expected, "{service:?} at {now}");
        };
        let own = address("services", ALLOCATOR);
        let has = json!({ "type": "ClusterIP", "clusterIPs": ["10.0.0.1"] });
        let other = json!({ "type": "ClusterIP", "clusterIPs": ["10.0.0.2"] });
        let external = json!({ "type": "ExternalName", "externalName": "a.b" });
        let wrong = "IPAddressWrongReference: IPAddress: 10.0.0.1 for Service ns/a has a wrong reference; \
                     cleaning up";
        check(&own, service(101, has), 101, json!("fine"));
        check(&address("services", "me"), None, 1000, json!("fine"));
        check(&own, None, 110, json!(50));
        check(
            &own,
            None,
            161,
            json!(
                "IPAddressNotAllocated: IPAddress: 10.0.0.1 for Service ns/a appears to have leaked: cleaning up"
            ),
        );
        check(&own, service(90, other.clone()), 103, json!(5));
        check(&own, service(90, other.clone()), 106, json!(wrong));
        check(&own, service(101, other), 103, json!(wrong));
        check(&own, service(90, external.clone()), 130, json!(30));
        check(&own, service(90, external), 161, json!(wrong));
        check(
            &address("gateways", ALLOCATOR),
            None,
            101,
            json!(
                "IPAddressNotAllocated: IPAddress 10.0.0.1 appears to have been modified, not referencing a \
                 Service &ParentReference{Group:,Resource:gateways,Namespace:ns,Name:a,}: cleaning up"
            ),
        );
    }
}
