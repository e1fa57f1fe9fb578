//! Which slices a service should have.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};

use super::{
    CONTROLLER_NAME, hints,
    hints::Closeness,
    packing::{Changes, pack},
    pod::{has_cluster_ip, is_endpoint},
    slice::{self, Ports},
    topology::{self, Served, Shares},
};
use crate::{
    framework::{Key, Severity},
    pod::node,
};

/// What a plan is made from.
pub(super) struct Observed {
    pub(super) service: Arc<Service>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// The nodes that those pods are on, by name.
    pub(super) nodes: BTreeMap<String, Arc<Node>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
    /// The zones' shares of the CPU.
    pub(super) shares: Option<Shares>,
    /// Whether the service's endpoints have hints by topology so far.
    pub(super) hinted: bool,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Changes,
    /// What is to be told of the service.
    pub(super) events: Vec<(Severity, &'static str, String)>,
    /// The zones that its endpoints serve, by address type; empty without hints by topology.
    pub(super) served: BTreeMap<&'static str, Served>,
    /// Why it is to be looked at again.
    pub(super) problems: Vec<String>,
}

/// The writes that make the slices what the service should have.
pub(super) fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let types = slice::address_types(&observed.service);
    let (known, gone): (Vec<_>, Vec<_>) =
        observed.slices.iter().cloned().partition(|slice| types.contains(&slice.address_type.as_str()));
    for address_type in types {
        let existing = known.iter().filter(|slice| slice.address_type == address_type).cloned().collect();
        of_type(observed, address_type, existing, &mut plan);
    }
    plan.changes.delete.extend(gone);
    plan
}

#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

fn of_type(
    observed: &Observed,
    address_type: &'static str,
    existing: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let service = &*observed.service;
    let groups = desired(observed, address_type, plan);
    let (own, foreign): (Vec<_>, Vec<_>) =
        existing.into_iter().partition(|slice| slice::owned(slice, service));
    let mut by_ports: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in own {
        let ports = Ports::of(slice.ports.as_deref().unwrap_or_default());
        by_ports.entry(ports).or_default().push(slice);
    }
    let mut changes = Changes { delete: foreign, ..Changes::default() };
    for (key, group) in groups {
        let fresh = slice::empty(service, CONTROLLER_NAME, address_type, group.ports);
        let existing = by_ports.remove(&key).unwrap_or_default();
        changes.extend(pack(service, CONTROLLER_NAME, existing, group.endpoints, &fresh));
    }
    changes.delete.extend(by_ports.into_values().flatten());
    keep_one(service, address_type, &mut changes);
    hint(observed, address_type, &mut changes, plan);
    changes.recycle(|old, new| old.address_type == new.address_type && slice::owned(old, service));
    if service.metadata.deletion_timestamp.is_some() {
        // What the garbage collector deletes is not made anew.
        changes.create.clear();
    }
    plan.changes.extend(changes);
}

/// The endpoints that there should be, by the ports that they have.
fn desired(observed: &Observed, address_type: &str, plan: &mut Plan) -> BTreeMap<Ports, Group> {
    let service = &*observed.service;
    let spec = service.spec.clone().unwrap_or_default();
    let headless = !has_cluster_ip(&spec);
    let mut groups: BTreeMap<Ports, Group> = BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| is_endpoint(pod, true)) {
        let without_ports = headless && spec.ports.as_ref().is_none_or(Vec::is_empty);
        let ports = if without_ports { Vec::new() } else { slice::ports(service, pod) };
        let group = groups.entry(Ports::of(&ports)).or_insert_with(|| Group { ports, endpoints: Vec::new() });
        let name = node(pod).unwrap_or_default();
        let on = observed.nodes.get(name);
        if on.is_none() && spec.publish_not_ready_addresses != Some(true) {
            plan.problems.push(format!(
                "skipping Pod {} for Service {}: Node {name} Not Found",
                pod.metadata.name.as_deref().unwrap_or_default(),
                Key::of(&service.metadata),
            ));
            continue;
        }
        let endpoint = slice::endpoint(pod, on.map(|node| &**node), service, address_type);
        if !endpoint.addresses.is_empty() {
            group.endpoints.push(endpoint);
        }
    }
    groups
}

/// A service has a slice of each type also without endpoints.
fn keep_one(service: &Service, address_type: &str, changes: &mut Changes) {
    if !changes.create.is_empty() || !changes.update.is_empty() || !changes.unchanged.is_empty() {
        return;
    }
    let placeholder = slice::empty(service, CONTROLLER_NAME, address_type, Vec::new());
    match changes.delete.as_slice() {
        [only] if is_placeholder(only, &placeholder) => {
            changes.unchanged = std::mem::take(&mut changes.delete)
        }
        _ => changes.create.push(placeholder),
    }
}

fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    slice.endpoints.as_ref().is_none_or(Vec::is_empty)
        && slice.ports.as_ref().is_none_or(Vec::is_empty)
        && slice.metadata.labels == placeholder.metadata.labels
        && slice.metadata.owner_references == placeholder.metadata.owner_references
}

fn hint(observed: &Observed, address_type: &'static str, changes: &mut Changes, plan: &mut Plan) {
    let told = |text: &str| format!("{text}, addressType: {address_type}");
    if topology::is_auto(observed.service.metadata.annotations.as_ref()) {
        match topology::assign(changes, observed.shares.as_ref()) {
            Ok(served) => {
                if !observed.hinted && plan.served.is_empty() {
                    let text = told("Topology Aware Hints has been enabled");
                    plan.events.push((Severity::Normal, "TopologyAwareHintsEnabled", text));
                }
                plan.served.insert(address_type, served);
            }
            Err(reason) => {
                plan.events.push((Severity::Warning, "TopologyAwareHintsDisabled", told(&reason)));
            }
        }
        return;
    }
    if observed.hinted {
        let text = told("Topology Aware Hints has been disabled");
        plan.events.push((Severity::Warning, "TopologyAwareHintsDisabled", text));
    }
    let spec = observed.service.spec.as_ref();
    let closeness = Closeness::parse(spec.and_then(|spec| spec.traffic_distribution.as_deref()));
    hints::apply(closeness, changes);
}
