//! Which slices Endpoints should have.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointPort as Port, Endpoints},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::CONTROLLER_NAME;
use crate::{
    endpoint_slice::{
        packing::Changes,
        slice::{Identity, MANAGED_BY, Ports, SERVICE_NAME, prefix, same},
        trigger::LAST_CHANGE,
    },
    endpoints::subsets::repack,
    framework::controller_reference,
};

/// Addresses of a subset that are mirrored, at most.
const LIMIT: usize = 1000;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const TYPES: [&str; 2] = ["IPv4", "IPv6"];

type Map = BTreeMap<String, String>;
/// What a slice has one of: its address type and its ports.
type Group = (&'static str, Ports);

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Changes,
    /// Warnings about the Endpoints.
    pub(super) warnings: Vec<(&'static str, String)>,
}

#[derive(Default)]
struct Desired {
    ports: Vec<EndpointPort>,
    endpoints: BTreeMap<Identity, Endpoint>,
}

/// The writes that make the slices say what `endpoints` say.
pub(super) fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut slices: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        match TYPES.iter().find(|known| **known == slice.address_type) {
            Some(known) => {
                let group = (*known, Ports::of(slice.ports.as_deref().unwrap_or_default()));
                slices.entry(group).or_default().push(slice.clone());
            }
            None => plan.changes.delete.push(slice.clone()),
        }
    }
    for (group, wanted) in desired(endpoints, &mut plan.warnings) {
        let existing = slices.remove(&group).unwrap_or_default();
        mirror(endpoints, group.0, wanted, existing, &mut plan.changes);
    }
    plan.changes.delete.extend(slices.into_values().flatten());
    plan.changes.recycle(|old, new| old.address_type == new.address_type);
    if endpoints.metadata.deletion_timestamp.is_some() {
        plan.changes.create.clear();
    }
    plan
}

fn desired(endpoints: &Endpoints, warnings: &mut Vec<(&'static str, String)>) -> BTreeMap<Group, Desired> {
    let mut groups: BTreeMap<Group, Desired> = BTreeMap::new();
    let (mut invalid, mut skipped) = (0, 0);
    for subset in repack(endpoints.subsets.as_deref().unwrap_or_default()) {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let key = Ports::of(&ports);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut added = 0;
        for (address, ready) in ready.chain(unready) {
            if added >= LIMIT {
                skipped += 1;
                continue;
            }
            let Some((address_type, endpoint)) = endpoint(address, ready) else {
                invalid += 1;
                continue;
            };
            added += 1;
            let group = groups.entry((address_type, key.clone())).or_default();
            group.ports.clone_from(&ports);
            group.endpoints.insert(Identity::of(&endpoint), endpoint);
        }
    }
    if invalid > 0 {
        let text = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        warnings.push(("InvalidIPAddress", text));
    }
    if skipped > 0 {
        let skipped = skipped + invalid;
        let text = format!(
            "A max of {LIMIT} addresses can be mirrored to EndpointSlices per Endpoints subset. \
             {skipped} addresses were skipped"
        );
        warnings.push(("TooManyAddressesToMirror", text));
    }
    groups
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

/// One slice says it all; the first that there is, if it can.
fn mirror(
    endpoints: &Endpoints,
    address_type: &'static str,
    wanted: Desired,
    mut existing: Vec<Arc<EndpointSlice>>,
    changes: &mut Changes,
) {
    let first = (!existing.is_empty()).then(|| existing.remove(0));
    changes.delete.extend(existing);
    if let Some(first) = &first
        && is_right(endpoints, first, &wanted)
    {
        changes.unchanged.push(first.clone());
        return;
    }
    let mut slice = EndpointSlice {
        metadata: meta(endpoints),
        address_type: address_type.to_owned(),
        ports: Some(wanted.ports),
        endpoints: Some(wanted.endpoints.into_values().take(LIMIT).collect()),
    };
    match first {
        Some(first) => {
            slice.metadata.name.clone_from(&first.metadata.name);
            changes.update.push(slice);
        }
        None => {
            let name = endpoints.metadata.name.as_deref().unwrap_or_default();
            slice.metadata.generate_name = Some(prefix(name));
            changes.create.push(slice);
        }
    }
}

fn meta(endpoints: &Endpoints) -> ObjectMeta {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), endpoints.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), CONTROLLER_NAME.into());
    ObjectMeta {
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(without(endpoints.metadata.annotations.as_ref(), [LAST_CHANGE, LAST_APPLIED])),
        owner_references: Some(vec![controller_reference(endpoints)]),
        ..ObjectMeta::default()
    }
}

fn without(map: Option<&Map>, keys: [&str; 2]) -> Map {
    let kept = map.into_iter().flatten().filter(|(key, _)| !keys.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn is_right(endpoints: &Endpoints, slice: &EndpointSlice, wanted: &Desired) -> bool {
    let there = slice.endpoints.as_deref().unwrap_or_default();
    let as_wanted = |endpoint: &Endpoint| {
        wanted.endpoints.get(&Identity::of(endpoint)).is_some_and(|wanted| same(wanted, endpoint))
    };
    let (mine, theirs) = (&endpoints.metadata, &slice.metadata);
    let another = |owner: &&str| Some(*owner) != mine.uid.as_deref();
    let owners = theirs.owner_references.iter().flatten();
    let mut owners =
        owners.filter(|owner| owner.kind == "Endpoints" && Some(&owner.name) == mine.name.as_ref());
    there.len() == wanted.endpoints.len()
        && there.iter().all(as_wanted)
        && mine.labels.clone().unwrap_or_default()
            == without(theirs.labels.as_ref(), [MANAGED_BY, SERVICE_NAME])
        && without(mine.annotations.as_ref(), [LAST_CHANGE, LAST_APPLIED])
            == theirs.annotations.clone().unwrap_or_default()
        && !owners.any(|owner| another(&owner.uid.as_str()))
}
