//! Subsets of Endpoints in the form that says most with least: each address
//! once for all the ports that it shares with others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// Addresses that Endpoints hold, at most.
const CAPACITY: usize = 1000;

// Two pods may have one address, as those of a node's network do.
type Place = (String, String);

fn place(address: &EndpointAddress) -> Place {
    let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone());
    (address.ip.clone(), uid.unwrap_or_default())
}

/// The same addresses and ports, joined and sorted. An address that is not
/// ready for a port in one subset is not ready for it at all.
pub(crate) fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<Place, &EndpointAddress> = BTreeMap::new();
    let mut ready_by_port: BTreeMap<Option<PortKey>, BTreeMap<Place, bool>> = BTreeMap::new();
    for subset in subsets {
        let mut ports: Vec<_> = subset.ports.iter().flatten().map(|port| Some(PortKey::of(port))).collect();
        if ports.is_empty() {
            ports.push(None);
        }
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let all: Vec<_> =
            ready.chain(unready).map(|(address, ready)| (place(address), address, ready)).collect();
        for (place, address, _) in &all {
            addresses.entry(place.clone()).or_insert(address);
        }
        for port in ports {
            let known = ready_by_port.entry(port).or_default();
            for (place, _, ready) in &all {
                known.entry(place.clone()).and_modify(|known| *known &= ready).or_insert(*ready);
            }
        }
    }
    let mut ports_by_ready: BTreeMap<BTreeMap<Place, bool>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, ready) in ready_by_port {
        ports_by_ready.entry(ready).or_default().extend(port.map(PortKey::into_port));
    }
    let subset = |(places, ports): (BTreeMap<Place, bool>, Vec<EndpointPort>)| {
        let those = |wanted: bool| -> Option<Vec<EndpointAddress>> {
            let places = places.iter().filter(|(_, ready)| **ready == wanted);
            let found: Vec<_> = places
                .filter_map(|(place, _)| addresses.get(place).map(|address| (*address).clone()))
                .collect();
            Some(found).filter(|found| !found.is_empty())
        };
        EndpointSubset {
            addresses: those(true),
            not_ready_addresses: those(false),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
        }
    };
    ports_by_ready.into_iter().map(subset).collect()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PortKey {
    name: Option<String>,
    port: i32,
    protocol: String,
    app_protocol: Option<String>,
}

impl PortKey {
    fn of(port: &EndpointPort) -> Self {
        Self {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            app_protocol: port.app_protocol.clone(),
        }
    }

    fn into_port(self) -> EndpointPort {
        EndpointPort {
            name: self.name,
            port: self.port,
            protocol: Some(self.protocol),
            app_protocol: self.app_protocol,
        }
    }
}

fn count(addresses: Option<&Vec<EndpointAddress>>) -> usize {
    addresses.map_or(0, Vec::len)
}

fn counts(subsets: &[EndpointSubset]) -> (usize, usize) {
    let ready = subsets.iter().map(|subset| count(subset.addresses.as_ref())).sum();
    let unready = subsets.iter().map(|subset| count(subset.not_ready_addresses.as_ref())).sum();
    (ready, unready)
}

/// True when there are more addresses than may be.
pub(super) fn over_capacity(subsets: &[EndpointSubset]) -> bool {
    let (ready, unready) = counts(subsets);
    ready + unready > CAPACITY
}

/// Leaves out what is too much, in proportion from each subset, and of what
/// is not ready first. Tells whether anything was.
pub(super) fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let (ready, unready) = counts(subsets);
    if ready + unready <= CAPACITY {
        return false;
    }
    let of_ready = ready > CAPACITY;
    let (room, total) = if of_ready { (CAPACITY, ready) } else { (CAPACITY - ready, unready) };
    let mut left = room;
    for subset in subsets {
        let list = if of_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (count(list.as_ref()) * room).div_ceil(total).min(left);
        if let Some(list) = list {
            list.truncate(share);
            left -= list.len();
        }
        if of_ready {
            subset.not_ready_addresses = None;
        }
    }
    true
}
