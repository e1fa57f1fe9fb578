//! The objects behind cluster addresses: `ServiceCIDR`s say which there are,
//! `IPAddress`es who has one (KEP-1880).

use std::{collections::HashSet, net::IpAddr};

use coracle_api::Object;
use serde_json::{Value, json};

use super::{
    allocate::Ranges,
    pool::Network,
    shape::{headless, needs_cluster_ip},
};
use crate::{
    codec,
    error::ApiError,
    registry::{Registry, Target, companions::Companion, options::ListOptions},
    resources::tree::{field, list, section, text, texts},
};

const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
// Made by every server at its start.
const DEFAULT: &str = "kubernetes";

/// Where what `service` needs comes from.
///
/// # Errors
/// The store's.
pub(super) async fn ranges(registry: &Registry, service: &Object) -> Result<Ranges, ApiError> {
    let config = &registry.config;
    let configured = Network::all(&config.service_range);
    let families = configured.iter().map(Network::family).collect();
    let spec = section(service, "spec");
    let networks = if needs_cluster_ip(spec) && !headless(spec) {
        ready(registry).await?.unwrap_or(configured)
    } else {
        configured
    };
    Ok(Ranges { families, networks, avoided: HashSet::new(), ports: config.node_ports })
}

// The networks of all ServiceCIDRs that are ready, those that the server was
// started with first; none where there is not even one that is not.
async fn ready(registry: &Registry) -> Result<Option<Vec<Network>>, ApiError> {
    let Some(row) = registry.row(NETWORKING.0, NETWORKING.1, "servicecidrs") else { return Ok(None) };
    let all = Target { row, namespace: String::new(), name: String::new() };
    let listing = registry.list(&all, &ListOptions::default()).await?;
    let mut cidrs: Vec<Object> =
        listing.records.iter().map(|record| codec::json::parse_stored(&record.bytes)).collect();
    if cidrs.is_empty() {
        return Ok(None);
    }
    cidrs.sort_by_key(|cidr| cidr.name() != DEFAULT);
    let ready = cidrs.iter().filter(|cidr| is_ready(cidr));
    let texts = ready.flat_map(|cidr| texts(field(cidr, &["spec", "cidrs"])));
    Ok(Some(texts.flat_map(Network::all).collect()))
}

// One of which nothing is said is ready: nobody may be there to say it.
fn is_ready(cidr: &Object) -> bool {
    let conditions = list(field(cidr, &["status", "conditions"]));
    let ready = conditions.iter().find(|it| text(&it["type"]) == "Ready");
    !cidr.deleting() && ready.is_none_or(|it| text(&it["status"]) == "True")
}

/// Those of `ips` that somebody has.
///
/// # Errors
/// The store's.
pub(super) async fn held(registry: &Registry, ips: &[IpAddr]) -> Result<Vec<IpAddr>, ApiError> {
    let Some(row) = registry.row(NETWORKING.0, NETWORKING.1, "ipaddresses") else { return Ok(Vec::new()) };
    let mut held = Vec::new();
    for ip in ips {
        let target = Target { row: row.clone(), namespace: String::new(), name: ip.to_string() };
        match registry.get(&target).await {
            Ok(_) => held.push(*ip),
            Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// The objects that say that `service` has `ips`.
pub(super) fn all(service: &Object, ips: &[IpAddr]) -> Vec<Companion> {
    ips.iter()
        .map(|ip| Companion { kind: (NETWORKING.0, NETWORKING.1, "ipaddresses"), object: of(service, *ip) })
        .collect()
}

fn of(service: &Object, ip: IpAddr) -> Object {
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": if ip.is_ipv6() { "IPv6" } else { "IPv4" },
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    let parent = json!({ "resource": "services", "namespace": service.namespace(), "name": service.name() });
    let address: Value = json!({
        "metadata": { "name": ip.to_string(), "labels": labels },
        "spec": { "parentRef": parent },
    });
    Object::from_value(address).unwrap_or_default()
}
