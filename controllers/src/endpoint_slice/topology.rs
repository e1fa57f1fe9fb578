//! Hints by the topology mode `Auto`: each zone has endpoints in proportion
//! to its share of the cluster's CPU.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::{
    core::v1::Node,
    discovery::v1::{EndpointHints, EndpointSlice, ForZone},
};

use super::{
    hints::{Closeness, apply, is_ready, touch},
    packing::Changes,
};

/// How much more than its share an endpoint may have to do.
const OVERLOAD: f64 = 0.2;
const ZONE: &str = "topology.kubernetes.io/zone";
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Each zone's share of the CPU.
pub(crate) type Shares = BTreeMap<String, f64>;
/// Endpoints by the zone that they serve.
pub(crate) type Served = BTreeMap<String, usize>;

/// True when the annotations ask for it.
pub(crate) fn is_auto(annotations: Option<&BTreeMap<String, String>>) -> bool {
    let Some(annotations) = annotations else { return false };
    let old = annotations.get("service.kubernetes.io/topology-aware-hints");
    let mode = old.or_else(|| annotations.get("service.kubernetes.io/topology-mode"));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// The zones' shares; nothing while any node does not tell, or there is one zone.
pub(crate) fn shares<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Option<Shares> {
    let mut by_zone: BTreeMap<String, i64> = BTreeMap::new();
    for node in nodes {
        let labels = node.metadata.labels.as_ref();
        let excluded = labels.is_some_and(|labels| EXCLUDED.iter().any(|label| labels.contains_key(*label)));
        if excluded || !is_node_ready(node) {
            continue;
        }
        let zone = labels.and_then(|labels| labels.get(ZONE)).filter(|zone| !zone.is_empty())?;
        let cpu = node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?;
        let cpu = Quantity::parse(&cpu.0).ok()?.milli_value();
        if cpu <= 0 {
            return None;
        }
        let sum = by_zone.entry(zone.clone()).or_default();
        *sum = sum.saturating_add(cpu);
    }
    let total: f64 = by_zone.values().map(|cpu| *cpu as f64).sum();
    if by_zone.len() < 2 || total <= 0.0 {
        return None;
    }
    Some(by_zone.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total)).collect())
}

pub(crate) fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// True when a zone has too few of a service's endpoints for its share.
pub(crate) fn overloaded(served: &Served, shares: Option<&Shares>) -> bool {
    if served.is_empty() {
        return false;
    }
    let Some(shares) = shares else { return true };
    let total: f64 = served.values().map(|count| *count as f64).sum();
    shares.iter().any(|(zone, share)| {
        let least = (total * share / (1.0 + OVERLOAD)).ceil();
        served.get(zone).is_none_or(|count| (*count as f64) < least)
    })
}

struct Allocation {
    least: usize,
    most: usize,
    desired: f64,
}

fn allocations(count: usize, shares: Option<&Shares>) -> Result<BTreeMap<String, Allocation>, String> {
    let Some(shares) = shares else {
        return Err(
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
                .into(),
        );
    };
    let zones = shares.len();
    if zones > count {
        return Err(format!("Insufficient number of endpoints ({count} endpoints, {zones} zones)"));
    }
    let mut allocations: BTreeMap<String, Allocation> = BTreeMap::new();
    for (zone, share) in shares {
        let desired = share * count as f64;
        let least = (desired / (1.0 + OVERLOAD)).ceil();
        let allocation = Allocation { least: least as usize, most: 0, desired: desired.max(least) };
        allocations.insert(zone.clone(), allocation);
    }
    let least: usize = allocations.values().map(|allocation| allocation.least).sum();
    let Some(spare) = count.checked_sub(least) else {
        return Err(format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold \
             ({count} endpoints, {zones} zones)"
        ));
    };
    allocations.values_mut().for_each(|allocation| allocation.most = allocation.least + spare);
    Ok(allocations)
}

/// Gives the endpoints of `changes` their hints, and tells which zones they
/// serve; or takes all hints away and tells why.
pub(crate) fn assign(changes: &mut Changes, shares: Option<&Shares>) -> Result<Served, String> {
    let assigned = try_assign(changes, shares);
    if assigned.is_err() {
        apply(Closeness::Anywhere, changes);
    }
    assigned
}

fn try_assign(changes: &mut Changes, shares: Option<&Shares>) -> Result<Served, String> {
    let ready = changes.endpoints().filter(|endpoint| is_ready(endpoint)).count();
    let allocations = allocations(ready, shares)?;
    let mut served = Served::new();
    touch(changes, |slice| match kept(slice, &served, &allocations) {
        None => true,
        Some(zones) => {
            zones.into_iter().for_each(|(zone, count)| *served.entry(zone).or_default() += count);
            false
        }
    });
    let slices = || changes.create.iter().chain(&changes.update);
    if slices()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .any(|endpoint| is_ready(endpoint) && endpoint.zone.as_deref().is_none_or(str::is_empty))
    {
        return Err("One or more endpoints do not have a zone specified".into());
    }
    // At first each serves its own zone.
    for slice in changes.create.iter_mut().chain(&mut changes.update) {
        for endpoint in slice.endpoints.iter_mut().flatten() {
            let zone = endpoint.zone.clone().filter(|_| is_ready(endpoint));
            endpoint.hints = zone.map(|zone| {
                *served.entry(zone.clone()).or_default() += 1;
                for_zone(zone)
            });
        }
    }
    redistribute(changes, &allocations, &mut served);
    match served.is_empty() {
        true => Err("No hints allocated for zones".into()),
        false => Ok(served),
    }
}

fn for_zone(name: String) -> EndpointHints {
    EndpointHints { for_nodes: None, for_zones: Some(vec![ForZone { name }]) }
}

/// The zones that an unchanged slice serves; nothing when it must change.
fn kept(
    slice: &EndpointSlice,
    served: &Served,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<Served> {
    let mut zones = Served::new();
    for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
        let hinted = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        for zone in hinted {
            allocations.get(&zone.name)?;
            *zones.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &usize)| {
        let before = served.get(zone).copied().unwrap_or(0);
        allocations.get(zone).is_some_and(|allocation| count + before <= allocation.most)
    };
    zones.iter().all(fits).then_some(zones)
}

/// Lets endpoints of zones that have more than their share serve those that have less.
fn redistribute(changes: &mut Changes, allocations: &BTreeMap<String, Allocation>, served: &mut Served) {
    let (mut giving, mut receiving) = exchange(allocations, served);
    for slice in changes.create.iter_mut().chain(&mut changes.update) {
        for endpoint in slice.endpoints.iter_mut().flatten().filter(|endpoint| is_ready(endpoint)) {
            let Some(own) = endpoint.zone.clone() else { continue };
            let Some(left) = giving.get_mut(&own).filter(|left| **left > 0) else { continue };
            let Some((to, wanted)) = receiving.iter_mut().find(|(_, wanted)| **wanted > 0) else { return };
            *left -= 1;
            *wanted -= 1;
            *served.entry(to.clone()).or_default() += 1;
            served.entry(own).and_modify(|count| *count = count.saturating_sub(1));
            endpoint.hints = Some(for_zone(to.clone()));
        }
    }
}

/// How many endpoints each zone gives, and how many each receives.
fn exchange(allocations: &BTreeMap<String, Allocation>, served: &Served) -> (Served, Served) {
    let mut surplus: BTreeMap<&String, f64> = BTreeMap::new();
    let mut lack: BTreeMap<&String, f64> = BTreeMap::new();
    for (zone, allocation) in allocations {
        let balance = served.get(zone).copied().unwrap_or(0) as f64 - allocation.desired;
        if balance > 0.0 {
            surplus.insert(zone, balance);
        } else if balance < 0.0 {
            lack.insert(zone, -balance);
        }
    }
    let (mut giving, mut receiving) = (Served::new(), Served::new());
    while let (Some(from), Some(to)) = (most(&mut surplus), most(&mut lack)) {
        if (*from.1 < 1.0 && *to.1 < 1.0) || *from.1 < 0.5 || *to.1 < 0.5 {
            break;
        }
        *from.1 -= 1.0;
        *to.1 -= 1.0;
        *giving.entry(from.0.clone()).or_default() += 1;
        *receiving.entry(to.0.clone()).or_default() += 1;
    }
    (giving, receiving)
}

fn most<'a, 'b>(zones: &'b mut BTreeMap<&'a String, f64>) -> Option<(&'a String, &'b mut f64)> {
    let most = zones.iter_mut().filter(|(_, count)| **count > 0.0).max_by(|a, b| a.1.total_cmp(b.1));
    most.map(|(zone, count)| (*zone, count))
}
