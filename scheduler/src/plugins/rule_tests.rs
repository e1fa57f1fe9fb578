//! Tables of what each rule says of nodes: reasons, scores, and what helps.

use std::{collections::BTreeMap, sync::Arc};

use coracle_controllers::framework::Store;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::{
    default_plugins,
    tests::{asks, cluster, node, pod},
};
use crate::{
    cache::Snapshot,
    explain::explain,
    objects::Objects,
    plugin::{Event, Happening},
    pod::PodInfo,
};

fn labelled(name: &str, app: &str, spec: Value) -> PodInfo {
    let mut pod = (*pod(name, spec).pod).clone();
    pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
    PodInfo::new(Arc::new(pod))
}

/// Two nodes in zone a, one in zone b and one in none.
fn zones() -> Vec<Arc<Node>> {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}, "status": {"allocatable": {"pods": "9"}}});
    vec![node("a1", zone("a")), node("a2", zone("a")), node("b1", zone("b")), node("none", json!({}))]
}

/// Node by node: why not, or the weighed score of `rule`.
fn said(rule: &str, nodes: &Snapshot, objects: &Objects, pod: &PodInfo) -> String {
    let explanation = explain(&default_plugins(objects), nodes, pod);
    let of = |name: &str| match explanation.rejected.get(name) {
        Some((_, rejection)) => rejection.reasons.join(", "),
        None => explanation.scores[name].get(rule).map_or("-".to_owned(), i64::to_string),
    };
    nodes.nodes().iter().map(|info| format!("{}: {}\n", info.name(), of(info.name()))).collect()
}

#[test]
fn pods_are_spread() {
    let spread = |change: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        super::tests::merge(&mut constraint, change);
        json!({"topologySpreadConstraints": [constraint]})
    };
    let check = |spec: Value, expected: [&str; 4]| {
        let placed = |name: &str| labelled(name, "web", json!({}));
        let nodes = cluster(zones(), vec![("a1", placed("1")), ("a2", placed("2")), ("b1", placed("3"))]);
        let said =
            said("PodTopologySpread", &nodes, &Objects::default(), &labelled("p", "web", spec.clone()));
        let names = ["a1", "a2", "b1", "none"];
        let expected: String = names.iter().zip(expected).map(|(n, e)| format!("{n}: {e}\n")).collect();
        assert_eq!(said, expected, "{spec}");
    };
    let uneven = "node(s) didn't match pod topology spread constraints";
    let unlabelled = "node(s) didn't match pod topology spread constraints (missing required label)";
    check(spread(json!({})), [uneven, uneven, "-", unlabelled]);
    check(spread(json!({"maxSkew": 2})), ["-", "-", "-", unlabelled]);
    check(spread(json!({"minDomains": 3})), [uneven, uneven, uneven, unlabelled]);
    check(spread(json!({"labelSelector": {"matchLabels": {"app": "db"}}})), ["-", "-", "-", unlabelled]);
    check(spread(json!({"matchLabelKeys": ["app"], "labelSelector": {}})), [uneven, uneven, "-", unlabelled]);
    check(spread(json!({"whenUnsatisfiable": "ScheduleAnyway"})), ["66", "66", "200", "0"]);
}

#[test]
fn pods_keep_near_and_apart() {
    let term = |app: &str| json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}});
    let required = |kind: &str, app: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}});
    let preferred = |kind: &str, app: &str| json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": term(app)}]}}});
    let check = |placed: Value, spec: Value, expected: [&str; 4]| {
        let nodes = cluster(zones(), vec![("a1", labelled("1", "web", placed))]);
        let said = said("InterPodAffinity", &nodes, &Objects::default(), &labelled("p", "db", spec.clone()));
        let names = ["a1", "a2", "b1", "none"];
        let expected: String = names.iter().zip(expected).map(|(n, e)| format!("{n}: {e}\n")).collect();
        assert_eq!(said, expected, "{spec}");
    };
    let far = "node(s) didn't match pod affinity rules";
    let near = "node(s) didn't match pod anti-affinity rules";
    let unwanted = "node(s) didn't satisfy existing pods anti-affinity rules";
    check(json!({}), required("podAffinity", "web"), ["-", "-", far, far]);
    check(json!({}), required("podAffinity", "nobody"), [far, far, far, far]);
    check(json!({}), required("podAffinity", "db"), ["-", "-", "-", far]);
    check(json!({}), required("podAntiAffinity", "web"), [near, near, "-", "-"]);
    check(required("podAntiAffinity", "db"), json!({}), [unwanted, unwanted, "-", "-"]);
    check(json!({}), preferred("podAffinity", "web"), ["200", "200", "0", "0"]);
    check(json!({}), preferred("podAntiAffinity", "web"), ["0", "0", "200", "200"]);
    check(preferred("podAffinity", "db"), json!({}), ["200", "200", "0", "0"]);
    check(required("podAffinity", "db"), json!({}), ["200", "200", "0", "0"]);
}

fn store<K: coracle_controllers::framework::Reflected>(objects: &[Value]) -> Arc<Store<K>> {
    Arc::new(Store::of(
        objects.iter().map(|object| serde_json::from_value(object.clone()).unwrap()).collect(),
    ))
}

#[test]
fn volumes_decide() {
    let zoned = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}});
    let volume = |name: &str, class: &str, change: Value| {
        let mut volume = json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {"storageClassName": class,
            "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": name}}});
        super::tests::merge(&mut volume, change);
        volume
    };
    let claim = |name: &str, class: &str, volume: &str| {
        let annotations =
            if volume.is_empty() { json!({}) } else { json!({"pv.kubernetes.io/bind-completed": "yes"}) };
        json!({"metadata": {"name": name, "namespace": "a", "uid": name, "annotations": annotations},
            "spec": {"storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let class = |name: &str, mode: &str, provisioner: &str| json!({"metadata": {"name": name}, "volumeBindingMode": mode, "provisioner": provisioner});
    let objects = Objects {
        classes: store(&[
            class("late", "WaitForFirstConsumer", "maker"),
            class("local", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
            class("now", "Immediate", "maker"),
        ]),
        volumes: store(&[
            volume("here", "", json!({"spec": {"nodeAffinity": zoned}})),
            volume("free", "local", json!({"spec": {"nodeAffinity": zoned}})),
            volume("zonal", "", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "x"}}})),
        ]),
        claims: store(&[
            claim("bound", "", "here"),
            claim("gone", "", "nowhere"),
            claim("late", "late", ""),
            claim("local", "local", ""),
            claim("now", "now", ""),
            claim("zonal", "", "zonal"),
        ]),
        csi_nodes: store(&[
            json!({"metadata": {"name": "a1"}, "spec": {"drivers": [{"name": "d", "nodeID": "a1", "allocatable": {"count": 0}}]}}),
        ]),
        ..Objects::default()
    };
    let check = |name: &str, expected: [&str; 4]| {
        let spec = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]});
        let said = said("VolumeBinding", &cluster(zones(), vec![]), &objects, &pod("p", spec));
        let names = ["a1", "a2", "b1", "none"];
        let expected: String = names.iter().zip(expected).map(|(n, e)| format!("{n}: {e}\n")).collect();
        assert_eq!(said, expected, "{name}");
    };
    let elsewhere = "node(s) didn't match PersistentVolume's node affinity";
    let full = "node(s) exceed max volume count";
    check("bound", [full, "0", elsewhere, elsewhere]);
    check("late", ["0", "0", "0", "0"]);
    let none = "node(s) didn't find available persistent volumes to bind";
    check("local", ["50", "50", none, none]);
    check("now", ["pod has unbound immediate PersistentVolumeClaims"; 4]);
    check("missing", ["persistentvolumeclaim \"missing\" not found"; 4]);
    check("gone", ["persistentvolume \"nowhere\" not found"; 4]);
    check("zonal", [full, "0", "0", "0"]);
}

#[test]
fn what_helps_whom() {
    let plugins = default_plugins(&Objects::default());
    let check = |rule: &str, pod: &PodInfo, event: Event<'_>, expected: bool| {
        let plugin = plugins.iter().find(|plugin| plugin.name() == rule).unwrap();
        assert_eq!(
            plugin.helped_by(event.what) && plugin.helps(pod, &event),
            expected,
            "{rule} {:?}",
            event.what
        );
    };
    let (old, new) = (node("n", json!({})), node("n", json!({"metadata": {"labels": {"zone": "a"}}})));
    let relabelled = || Event { nodes: (Some(&old), Some(&new)), ..Happening::NodeLabels.into() };
    check("NodeAffinity", &pod("p", json!({"nodeSelector": {"zone": "a"}})), relabelled(), true);
    check("NodeAffinity", &pod("p", json!({"nodeSelector": {"zone": "b"}})), relabelled(), false);
    let added = || Event { nodes: (None, Some(&new)), ..Happening::NodeAdded.into() };
    check("NodeResourcesFit", &pod("p", json!({})), added(), true);
    check("NodeResourcesFit", &pod("p", asks(json!({"cpu": "99"}))), added(), false);
    let near = |kind: &str| {
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}}})
    };
    let (web, db) = (labelled("w", "web", json!({})), labelled("d", "db", json!({})));
    let came = |pod| Event { pods: (None, Some(pod)), ..Happening::PodPlaced.into() };
    let went = |pod| Event { pods: (Some(pod), None), ..Happening::PodRemoved.into() };
    check("InterPodAffinity", &pod("p", near("podAffinity")), came(&web), true);
    check("InterPodAffinity", &pod("p", near("podAffinity")), came(&db), false);
    check("InterPodAffinity", &pod("p", near("podAntiAffinity")), went(&web), true);
    check("InterPodAffinity", &pod("p", near("podAntiAffinity")), went(&db), false);
    check("InterPodAffinity", &pod("p", near("podAffinity")), added(), true);
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    check("PodTopologySpread", &pod("p", spread.clone()), went(&web), true);
    check("PodTopologySpread", &pod("p", spread), went(&db), false);
}
