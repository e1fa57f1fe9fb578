//! What the cluster says of its own API server: where it is, whom it trusts.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use super::Seed;
use crate::{config::Config, resources::tree};

const PORT_NAME: &str = "https";

/// The `kubernetes` Service. Where the server is reached from other machines, its endpoints too.
pub fn seeds(config: &Config) -> Vec<Seed> {
    let mut seeds = Vec::new();
    if let Some(address) = first(&config.service_range) {
        seeds.push(service(config, address));
    }
    if !config.advertise.ip().is_loopback() && !config.advertise.ip().is_unspecified() {
        seeds.extend([endpoints(config), slice(config)]);
    }
    seeds
}

/// What clients and aggregated servers are told.
pub fn records(config: &Config) -> Vec<Seed> {
    let today = config.clock.now().strftime("%Y-%m-%d").to_string();
    let mut records =
        vec![map("kube-apiserver-legacy-service-account-token-tracking", json!({ "since": today }))];
    if let Some(authority) = &config.client_authority {
        let data = json!({ "client-ca-file": authority });
        let authentication = map("extension-apiserver-authentication", data);
        records.push(Seed { kept: &["/data"], ..authentication });
    }
    records
}

fn map(name: &str, data: Value) -> Seed {
    let object = json!({ "metadata": { "name": name, "namespace": "kube-system" }, "data": data });
    Seed::new(("", "v1", "configmaps"), object)
}

/// The networks of cluster addresses that the server was started with.
pub fn cidr(config: &Config) -> Seed {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": tree::time(config.clock.now()),
    });
    let cidrs: Vec<&str> = config.service_range.split(',').collect();
    let object = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": cidrs } });
    let status = ("kubernetes-service-cidr-controller", json!({ "conditions": [ready] }));
    Seed { status: Some(status), ..Seed::new(("networking.k8s.io", "v1", "servicecidrs"), object) }
}

fn service(config: &Config, address: IpAddr) -> Seed {
    let port = config.advertise.port();
    let object = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.to_string(),
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{ "name": PORT_NAME, "port": 443, "protocol": "TCP", "targetPort": port }],
        },
    });
    Seed { kept: &["/spec/ports"], ..Seed::new(("", "v1", "services"), object) }
}

fn endpoints(config: &Config) -> Seed {
    let object = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": config.advertise.ip().to_string() }],
            "ports": [{ "name": PORT_NAME, "port": config.advertise.port(), "protocol": "TCP" }],
        }],
    });
    Seed { kept: &["/subsets"], ..Seed::new(("", "v1", "endpoints"), object) }
}

fn slice(config: &Config) -> Seed {
    let ip = config.advertise.ip();
    let object = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": if ip.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{ "addresses": [ip.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": PORT_NAME, "port": config.advertise.port(), "protocol": "TCP" }],
    });
    Seed {
        kept: &["/endpoints", "/ports"],
        ..Seed::new(("discovery.k8s.io", "v1", "endpointslices"), object)
    }
}

// The first address of the first range.
fn first(range: &str) -> Option<IpAddr> {
    let network = range.split(',').next()?.split('/').next()?;
    match network.parse().ok()? {
        IpAddr::V4(network) => Some(IpAddr::from(u32::from(network).checked_add(1)?.to_be_bytes())),
        IpAddr::V6(network) => Some(Ipv6Addr::from(u128::from(network).checked_add(1)?).into()),
    }
}
