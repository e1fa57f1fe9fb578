//! Gives a service the addresses and ports that its spec asks for.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::{Map, Value, json};

use super::{
    pool::{Holding, Network, Pool, PoolError, Taking},
    shape::{gets_node_ports, headless, needs_cluster_ip, needs_health_check, needs_node_port, node_ports},
};
use crate::resources::{
    Taken,
    core::addresses,
    tree::{list, number, section, texts},
};

/// Where addresses and ports come from.
pub struct Ranges {
    /// The families that the cluster has, the primary one first.
    pub families: Vec<&'static str>,
    /// The networks of cluster addresses, in the order in which they are used up.
    pub networks: Vec<Network>,
    /// Addresses that somebody else has.
    pub avoided: HashSet<IpAddr>,
    /// The first and the last node port.
    pub ports: (u16, u16),
}

/// Why a service does not get what it needs.
#[derive(Debug)]
pub enum AllocateError {
    /// What it asks for is not to be had: 422.
    Invalid(FieldError),
    /// There is nothing left: 500.
    Exhausted(String),
}

/// What one write took; its drop gives back.
pub struct Allocation {
    pool: Arc<Pool>,
    taken: Holding,
    // What the object had and no longer has.
    released: Holding,
}

impl Allocation {
    /// The addresses that it took.
    pub fn taken(&self) -> &[IpAddr] {
        &self.taken.ips
    }

    /// The addresses that the object no longer has.
    pub fn released(&self) -> &[IpAddr] {
        &self.released.ips
    }
}

impl Taken for Allocation {
    fn keep(mut self: Box<Self>) {
        self.taken = Holding::default();
        self.pool.free(&self.released);
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.pool.free(&self.taken);
    }
}

/// Takes what `new` needs beside what `old` has, and writes it into `new`.
///
/// # Errors
/// What is taken already, out of range, or used up; nothing stays taken then.
pub fn allocate(
    pool: &Arc<Pool>,
    ranges: &Ranges,
    new: &mut Object,
    old: Option<&Object>,
    dry_run: bool,
) -> Result<Allocation, AllocateError> {
    let name = new.name().to_owned();
    let before = old.map(|old| section(old, "spec"));
    let seed = if new.uid().is_empty() { &name } else { new.uid() };
    let mut taking = pool.take(seed, dry_run, &ranges.avoided);
    let spec = new.section_mut("spec");
    let done = cluster_ips(&mut taking, &ranges.networks, spec, before, &name)
        .and_then(|()| ports(&mut taking, ranges.ports, spec, before))
        .and_then(|()| health_check(&mut taking, ranges.ports, spec, before));
    if let Err(error) = done {
        taking.undo();
        return Err(error);
    }
    let taken = if dry_run { Holding::default() } else { taking.done() };
    let now = Holding::of(new);
    let released = match old {
        Some(old) if !dry_run => Holding::of(old).without(&now),
        _ => Holding::default(),
    };
    Ok(Allocation { pool: pool.clone(), taken, released })
}

fn view(spec: &Map<String, Value>) -> Value {
    Value::Object(spec.clone())
}

fn cluster_ips(
    taking: &mut Taking<'_>,
    networks: &[Network],
    spec: &mut Map<String, Value>,
    before: Option<&Value>,
    name: &str,
) -> Result<(), AllocateError> {
    let after = view(spec);
    if !needs_cluster_ip(&after) || headless(&after) {
        return Ok(());
    }
    let had = before.filter(|before| needs_cluster_ip(before));
    let families = texts(&after["ipFamilies"]);
    // A service that was headless gets none later; one that had an address
    // may get a second one.
    let first = match had {
        None => 0,
        Some(before)
            if !headless(before) && list(&before["ipFamilies"]).len() == 1 && families.len() == 2 =>
        {
            1
        }
        Some(_) => return Ok(()),
    };
    let mut ips: Vec<String> = texts(&after["clusterIPs"]).into_iter().map(str::to_owned).collect();
    ips.resize(ips.len().max(families.len()), String::new());
    for (index, family) in families.iter().enumerate().skip(first) {
        let networks: Vec<&Network> = networks.iter().filter(|network| network.family() == *family).collect();
        let shown = json!(ips);
        let ip = one_ip(taking, &networks, &ips[index])
            .map_err(|error| address_error(&error, shown, &ips[index], name))?;
        if ips[index].is_empty() {
            ips[index] = ip.to_string();
        }
    }
    if let Some(first) = ips.first() {
        spec.insert("clusterIP".to_owned(), first.as_str().into());
        spec.insert("clusterIPs".to_owned(), json!(ips));
    }
    Ok(())
}

fn one_ip(taking: &mut Taking<'_>, networks: &[&Network], asked: &str) -> Result<IpAddr, PoolError> {
    match addresses::lenient_ip(asked) {
        None => taking.any_ip(networks),
        Some(ip) => taking.ip(networks, ip).map(|()| ip),
    }
}

fn address_error(error: &PoolError, shown: Value, asked: &str, name: &str) -> AllocateError {
    if *error == PoolError::Full {
        return AllocateError::Exhausted(format!(
            "failed to allocate a serviceIP for Service {name:?}: {error}"
        ));
    }
    let path = FieldPath::new("spec").child("clusterIPs");
    AllocateError::Invalid(FieldError::invalid(
        &path,
        shown,
        format!("failed to allocate IP {asked}: {error}"),
    ))
}

fn port_error(error: &PoolError, index: usize, port: i64) -> AllocateError {
    if *error == PoolError::Full {
        return AllocateError::Exhausted(format!("failed to allocate a nodePort: {error}"));
    }
    let path = FieldPath::new("spec").child("ports").index(index).child("nodePort");
    AllocateError::Invalid(FieldError::invalid(&path, port, error.to_string()))
}

fn ports(
    taking: &mut Taking<'_>,
    range: (u16, u16),
    spec: &mut Map<String, Value>,
    before: Option<&Value>,
) -> Result<(), AllocateError> {
    let after = view(spec);
    if !needs_node_port(&after) {
        return Ok(());
    }
    let automatic = gets_node_ports(&after);
    let had = before.map(node_ports).unwrap_or_default();
    let asked = list(&after["ports"]);
    // On create, one node port serves all protocols of a port.
    let mut by_port: BTreeMap<i64, i64> = BTreeMap::new();
    let mut own: Vec<i64> = had.clone();
    for (index, port) in asked.iter().enumerate() {
        let (mut wanted, service_port) = (number(&port["nodePort"]), number(&port["port"]));
        if wanted == 0 && !automatic {
            continue;
        }
        if wanted == 0 && before.is_none() {
            let same =
                asked.iter().find(|it| number(&it["port"]) == service_port && number(&it["nodePort"]) != 0);
            let given = by_port.get(&service_port).copied();
            wanted = given.or_else(|| same.map(|it| number(&it["nodePort"]))).unwrap_or(0);
        }
        if wanted == 0 {
            wanted = taking.any_port(range).map_err(|error| port_error(&error, index, 0))?;
        } else if !own.contains(&wanted) {
            taking.port(range, wanted).map_err(|error| port_error(&error, index, wanted))?;
        }
        own.push(wanted);
        by_port.entry(service_port).or_insert(wanted);
        let slot =
            spec.get_mut("ports").and_then(|ports| ports.get_mut(index)).and_then(Value::as_object_mut);
        if let Some(port) = slot {
            port.insert("nodePort".to_owned(), wanted.into());
        }
    }
    Ok(())
}

fn health_check(
    taking: &mut Taking<'_>,
    range: (u16, u16),
    spec: &mut Map<String, Value>,
    before: Option<&Value>,
) -> Result<(), AllocateError> {
    let after = view(spec);
    if !needs_health_check(&after) || before.is_some_and(needs_health_check) {
        return Ok(());
    }
    let asked = number(&after["healthCheckNodePort"]);
    if asked != 0 {
        return taking.port(range, asked).map_err(|error| {
            let text = format!("failed to allocate requested HealthCheck NodePort {asked}: {error}");
            AllocateError::Exhausted(text)
        });
    }
    let port = taking.any_port(range).map_err(|error| {
        AllocateError::Exhausted(format!("failed to allocate a HealthCheck NodePort 0: {error}"))
    })?;
    spec.insert("healthCheckNodePort".to_owned(), port.into());
    Ok(())
}
