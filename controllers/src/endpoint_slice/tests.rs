use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::{Value, json};

use super::{
    plan::{Observed, Plan, plan},
    topology,
};
use crate::merge::merge;

fn service(change: Value) -> Arc<Service> {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "a", "uid": "svc", "labels": {"team": "x"}},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]},
    });
    merge(&mut service, change);
    Arc::new(serde_json::from_value(service).unwrap())
}

fn pod(number: usize, change: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": format!("p{number}"), "namespace": "a", "uid": format!("u{number}"), "labels": {"app": "web"}},
        "spec": {"nodeName": format!("n{}", number % 2), "containers": []},
        "status": {"phase": "Running", "podIP": "x", "podIPs": [{"ip": format!("10.1.{}.{}", number / 250, number % 250)}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    });
    merge(&mut pod, change);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(name: &str, zone: &str, cpu: &str) -> Arc<Node> {
    let node = json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn observed(service: Arc<Service>, pods: Vec<Arc<Pod>>, slices: Vec<Arc<EndpointSlice>>) -> Observed {
    let nodes: BTreeMap<_, _> =
        [("n0".to_owned(), node("n0", "z0", "4")), ("n1".to_owned(), node("n1", "z1", "4"))].into();
    let shares = topology::shares(nodes.values().map(|node| &**node));
    Observed { service, pods, nodes, slices, shares, hinted: false }
}

/// The slices once `plan` is carried out.
fn carried_out(plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let created = plan.changes.create.into_iter().enumerate().map(|(i, mut slice)| {
        slice.metadata.name = Some(format!("web-{i}"));
        slice
    });
    let written = created.chain(plan.changes.update).map(Arc::new);
    written.chain(plan.changes.unchanged).collect()
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect()
}

/// What is created, updated (by their sizes) and how many are deleted.
fn check(
    service: &Arc<Service>,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
    expected: (&[usize], &[usize], usize),
) -> Vec<Arc<EndpointSlice>> {
    let plan = plan(&observed(service.clone(), pods.to_vec(), slices.to_vec()));
    let found = (sizes(&plan.changes.create), sizes(&plan.changes.update), plan.changes.delete.len());
    assert_eq!(found, (expected.0.to_vec(), expected.1.to_vec(), expected.2));
    carried_out(plan)
}

#[test]
fn endpoints_are_packed_with_few_writes() {
    let pods: Vec<_> = (0..250).map(|i| pod(i, json!({}))).collect();
    let web = service(json!({}));
    let slices = check(&web, &pods, &[], (&[100, 100, 50], &[], 0));
    let slices = check(&web, &pods, &slices, (&[], &[], 0));
    // One more goes where there is room, one less changes its slice alone.
    let more: Vec<_> = (0..251).map(|i| pod(i, json!({}))).collect();
    let slices = check(&web, &more, &slices, (&[], &[51], 0));
    let slices = check(&web, &pods, &slices, (&[], &[50], 0));
    // Another port is another slice; those that would go become it.
    let moved = service(json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9090}]}}));
    check(&moved, &pods, &slices, (&[], &[50, 100, 100], 0));
    // Labels of the service are its slices'.
    let labelled = service(json!({"metadata": {"labels": {"team": "y"}}}));
    check(&labelled, &pods, &slices, (&[], &[100, 100, 50], 0));
}

#[test]
fn a_service_has_a_slice_also_without_endpoints() {
    let slices = check(&service(json!({})), &[], &[], (&[0], &[], 0));
    let slices = check(&service(json!({})), &[], &slices, (&[], &[], 0));
    let slices = check(&service(json!({})), &[pod(1, json!({}))], &slices, (&[], &[1], 0));
    check(&service(json!({})), &[], &slices, (&[], &[0], 0));
    check(&service(json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}})), &[], &[], (&[0, 0], &[], 0));
    // A slice of a service that had the name before is not touched but to be deleted.
    check(&service(json!({"metadata": {"uid": "other"}})), &[], &slices, (&[0], &[], 1));
    check(
        &service(json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}})),
        &[],
        &[],
        (&[], &[], 0),
    );
}

#[test]
fn endpoints_say_what_their_pods_are() {
    let check = |web: Value, change: Value, expected: Value| {
        let plan = plan(&observed(service(web), vec![pod(1, change)], vec![]));
        let slice = serde_json::to_value(&plan.changes.create[0]).unwrap();
        let endpoint = &slice["endpoints"][0];
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&endpoint[key], value, "{key}");
        }
        assert_eq!(slice["ports"].as_array().map(Vec::len), Some(1));
    };
    let conditions = |ready: bool, serving: bool, terminating: bool| json!({"conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
    let ending = json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}});
    let unready = json!({"status": {"conditions": []}});
    let published = json!({"spec": {"publishNotReadyAddresses": true}});
    check(json!({}), json!({}), conditions(true, true, false));
    check(json!({}), ending.clone(), conditions(false, true, true));
    check(json!({}), unready.clone(), conditions(false, false, false));
    check(published.clone(), unready, conditions(true, false, false));
    check(published, ending, conditions(true, true, true));
    check(
        json!({}),
        json!({}),
        json!({"nodeName": "n1", "zone": "z1", "hostname": null, "addresses": ["10.1.0.1"]}),
    );
    check(json!({}), json!({"spec": {"hostname": "h", "subdomain": "web"}}), json!({"hostname": "h"}));
    let traffic = |how: &str| json!({"spec": {"trafficDistribution": how}});
    check(traffic("PreferClose"), json!({}), json!({"hints": {"forZones": [{"name": "z1"}]}}));
    let node = json!({"hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}});
    check(traffic("PreferSameNode"), json!({}), node);
    check(json!({}), json!({}), json!({"hints": null}));
}

#[test]
fn labels_tell_whose_slices_they_are() {
    let labels = |change: Value| {
        plan(&observed(service(change), vec![], vec![])).changes.create[0].metadata.labels.clone()
    };
    let expected = json!({"team": "x", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    assert_eq!(json!(labels(json!({}))), expected);
    let headless = labels(json!({"spec": {"clusterIP": "None"}})).unwrap();
    assert_eq!(headless.get("service.kubernetes.io/headless").map(String::as_str), Some(""));
}

#[test]
fn a_pod_without_its_node_is_left_out_and_looked_at_again() {
    let plan =
        plan(&observed(service(json!({})), vec![pod(1, json!({"spec": {"nodeName": "gone"}}))], vec![]));
    assert_eq!(plan.problems, ["skipping Pod p1 for Service a/web: Node gone Not Found"]);
    assert_eq!(sizes(&plan.changes.create), [0]);
}

#[test]
fn zones_are_served_by_their_share() {
    let check = |pods: Vec<Arc<Pod>>, expected: &[(&str, usize)], event: &str| {
        let auto =
            service(json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}}));
        let plan = plan(&observed(auto, pods, vec![]));
        let mut served: BTreeMap<&str, usize> = BTreeMap::new();
        for endpoint in plan.changes.endpoints() {
            for zone in endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten()) {
                *served.entry(&zone.name).or_default() += 1;
            }
        }
        assert_eq!(served.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(plan.events[0].2, event);
    };
    let on = |node: &str, i: usize| pod(i, json!({"spec": {"nodeName": node}}));
    let enabled = "Topology Aware Hints has been enabled, addressType: IPv4";
    check((0..4).map(|i| on("n0", i)).collect(), &[("z0", 2), ("z1", 2)], enabled);
    check(vec![on("n0", 0), on("n1", 1)], &[("z0", 1), ("z1", 1)], enabled);
    let few = "Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4";
    check(vec![on("n0", 0)], &[], few);
}
