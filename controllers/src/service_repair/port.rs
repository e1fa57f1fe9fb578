//! Tells of node ports that two services have, or that are out of range.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Service;
use tokio_util::sync::CancellationToken;

use super::Repair;
use crate::framework::{Recorder, Severity, Store, reference, until};

/// Looks at all services now and then, until `shutdown`.
pub(super) async fn watch(
    services: Arc<Store<Service>>,
    events: Recorder,
    repair: Repair,
    shutdown: CancellationToken,
) {
    loop {
        for (service, reason, message) in faults(&services.all(), repair.node_ports) {
            events.act(reference(&*service), Severity::Warning, reason, "PortAllocation", message);
        }
        if until(&shutdown, tokio::time::sleep(repair.interval)).await.is_none() {
            return;
        }
    }
}

/// The node ports that are no good, and what is told of each.
fn faults(services: &[Arc<Service>], (first, last): (u16, u16)) -> Vec<(Arc<Service>, &'static str, String)> {
    let mut taken = HashSet::new();
    let mut faults = Vec::new();
    for service in services {
        for port in node_ports(service) {
            if !(i32::from(first)..=i32::from(last)).contains(&port) {
                let message = format!(
                    "Port {port} is not within the port range {first}-{last}; please recreate service"
                );
                faults.push((service.clone(), "PortOutOfRange", message));
            } else if !taken.insert(port) {
                let message =
                    format!("Port {port} was assigned to multiple services; please recreate service");
                faults.push((service.clone(), "PortAlreadyAllocated", message));
            }
        }
    }
    faults
}

// Its node ports; one that it has for several protocols counts once.
fn node_ports(service: &Service) -> Vec<i32> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut ports = Vec::new();
    let mut protocols: HashMap<i32, HashSet<&str>> = HashMap::new();
    let own = spec.ports.iter().flatten();
    let own = own.filter_map(|port| Some((port.node_port?, port.protocol.as_deref().unwrap_or("TCP"))));
    let health = spec.health_check_node_port.map(|port| (port, "TCP"));
    for (port, protocol) in own.chain(health).filter(|(port, _)| *port != 0) {
        let seen = protocols.entry(port).or_default();
        if seen.is_empty() || seen.contains(protocol) {
            ports.push(port);
        }
        seen.insert(protocol);
    }
    ports
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn ports_that_are_no_good() {
        let check = |specs: &[Value], expected: &[&str]| {
            let of = |spec: &Value| Arc::new(serde_json::from_value(json!({ "spec": spec })).unwrap());
            let services: Vec<Arc<Service>> = specs.iter().map(of).collect();
            let found: Vec<String> = faults(&services, (30000, 32767)).into_iter().map(|it| it.2).collect();
            assert_eq!(found, expected, "{specs:?}");
        };
        let port = |port: i32, protocol: &str| json!({ "port": 80, "nodePort": port, "protocol": protocol });
        let ports = |ports: &[Value]| json!({ "ports": ports });
        check(&[ports(&[port(30001, "TCP"), port(30001, "UDP")]), ports(&[port(30002, "TCP")])], &[]);
        check(
            &[ports(&[port(30001, "TCP")]), ports(&[port(30001, "UDP")])],
            &["Port 30001 was assigned to multiple services; please recreate service"],
        );
        check(
            &[ports(&[port(80, "TCP")])],
            &["Port 80 is not within the port range 30000-32767; please recreate service"],
        );
        check(
            &[json!({ "ports": [port(30001, "TCP")], "healthCheckNodePort": 30001 })],
            &["Port 30001 was assigned to multiple services; please recreate service"],
        );
        check(&[json!({ "ports": [port(30001, "UDP")], "healthCheckNodePort": 30001 })], &[]);
    }
}
