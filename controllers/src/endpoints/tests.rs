use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints, Pod, Service};
use serde_json::{Value, json};

use super::{
    plan::plan,
    subsets::{repack, truncate},
};

#[test]
fn subsets_are_packed() {
    let check = |before: Value, after: Value| {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(before.clone()).unwrap();
        assert_eq!(serde_json::to_value(repack(&subsets)).unwrap(), after, "{before}");
    };
    let port = |name: &str, port: i32| json!({"name": name, "port": port, "protocol": "TCP"});
    let (a, b) = (json!({"ip": "10.0.0.1"}), json!({"ip": "10.0.0.2"}));
    check(json!([]), json!([]));
    check(
        json!([{"addresses": [b], "ports": [port("x", 1)]}, {"addresses": [a], "ports": [port("x", 1)]}]),
        json!([{"addresses": [a, b], "ports": [port("x", 1)]}]),
    );
    check(
        json!([{"addresses": [a], "ports": [port("y", 2)]}, {"addresses": [a], "ports": [port("x", 1)]}]),
        json!([{"addresses": [a], "ports": [port("x", 1), port("y", 2)]}]),
    );
    // Not ready in one is not ready.
    check(
        json!([{"addresses": [a], "ports": [port("x", 1)]}, {"notReadyAddresses": [a], "ports": [port("x", 1)]}]),
        json!([{"notReadyAddresses": [a], "ports": [port("x", 1)]}]),
    );
    check(json!([{"addresses": [a]}]), json!([{"addresses": [a]}]));
}

fn addresses(from: usize, count: usize) -> Value {
    (from..from + count).map(|i| json!({"ip": format!("10.0.{}.{}", i / 250, i % 250)})).collect()
}

#[test]
fn what_is_too_much_is_left_out() {
    let check = |ready: [usize; 2], unready: [usize; 2], kept: Option<[(usize, usize); 2]>| {
        let subset = |i: usize| json!({"addresses": addresses(0, ready[i]), "notReadyAddresses": addresses(0, unready[i])});
        let mut subsets: Vec<EndpointSubset> =
            vec![serde_json::from_value(subset(0)).unwrap(), serde_json::from_value(subset(1)).unwrap()];
        assert_eq!(truncate(&mut subsets), kept.is_some());
        let count = |it: &EndpointSubset| {
            (it.addresses.as_ref().map_or(0, Vec::len), it.not_ready_addresses.as_ref().map_or(0, Vec::len))
        };
        let found: Vec<_> = subsets.iter().map(count).collect();
        let all = [(ready[0], unready[0]), (ready[1], unready[1])];
        assert_eq!(found, kept.unwrap_or(all), "{ready:?} {unready:?}");
    };
    check([500, 500], [0, 0], None);
    check([500, 400], [100, 100], Some([(500, 50), (400, 50)]));
    check([1500, 500], [3, 3], Some([(750, 0), (250, 0)]));
}

#[test]
fn endpoints_are_written_when_they_differ() {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "a", "labels": {"team": "x"}},
        "spec": {"clusterIP": "None", "ipFamilies": ["IPv4"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }))
    .unwrap();
    let pod = |ready: &str| -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": {"nodeName": "n", "containers": []},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap())
    };
    let trigger = "2024-01-01T00:00:00Z".parse().ok();
    let made = plan(&service, &[pod("True")], None, trigger).unwrap();
    assert_eq!(
        serde_json::to_value(&made).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "web", "namespace": "a",
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2024-01-01T00:00:00Z"},
                "labels": {"team": "x", "service.kubernetes.io/headless": "", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
            "subsets": [{"ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                "addresses": [{"ip": "10.0.0.1", "nodeName": "n", "targetRef": {"kind": "Pod", "namespace": "a", "name": "p", "uid": "u"}}]}],
        })
    );
    let again = |pods: &[Arc<Pod>], current: &Endpoints| plan(&service, pods, Some(current), None);
    assert_eq!(again(&[pod("True")], &made), None);
    let unready = again(&[pod("False")], &made).unwrap();
    assert!(unready.subsets.as_ref().unwrap()[0].addresses.is_none());
    assert!(
        !unready
            .metadata
            .annotations
            .unwrap()
            .contains_key("endpoints.kubernetes.io/last-change-trigger-time")
    );
    assert!(again(&[], &made).unwrap().subsets.unwrap().is_empty());
}
