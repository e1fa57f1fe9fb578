//! What a service's type asks for.

use serde_json::Value;

use crate::resources::tree::{list, number, text, texts};

/// `clusterIP` of a service that has none.
pub const NONE: &str = "None";

/// Whether it has cluster addresses, `None` being one.
pub fn needs_cluster_ip(spec: &Value) -> bool {
    text(&spec["type"]) != "ExternalName"
}

/// Whether it has no cluster address by choice.
pub fn headless(spec: &Value) -> bool {
    texts(&spec["clusterIPs"]) == [NONE]
}

/// Whether its ports are reached on every node.
pub fn needs_node_port(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(&spec["type"]))
}

/// Whether its ports get node ports without being asked.
pub fn gets_node_ports(spec: &Value) -> bool {
    match text(&spec["type"]) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"].as_bool().unwrap_or_default(),
        _ => false,
    }
}

/// Whether nodes tell its load balancer if they have a pod of it.
pub fn needs_health_check(spec: &Value) -> bool {
    text(&spec["type"]) == "LoadBalancer" && text(&spec["externalTrafficPolicy"]) == "Local"
}

/// Whether it is reached from outside of the cluster.
pub fn external(spec: &Value) -> bool {
    needs_node_port(spec) || (text(&spec["type"]) == "ClusterIP" && !list(&spec["externalIPs"]).is_empty())
}

/// Its cluster addresses, `None` left out.
pub fn cluster_ips(spec: &Value) -> Vec<&str> {
    if !needs_cluster_ip(spec) {
        return Vec::new();
    }
    texts(&spec["clusterIPs"]).into_iter().filter(|ip| *ip != NONE && !ip.is_empty()).collect()
}

/// The node ports of its ports, in order, with repetitions.
pub fn node_ports(spec: &Value) -> Vec<i64> {
    list(&spec["ports"]).iter().map(|port| number(&port["nodePort"])).filter(|port| *port != 0).collect()
}
