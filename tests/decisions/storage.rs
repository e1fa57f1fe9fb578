//! Classes, volumes and claims of a generated cluster.

use serde_json::{Value, json};

use crate::generate::{Chance, NAMESPACES};

const ZONE: &str = "topology.kubernetes.io/zone";

/// The storage of the world of `seed`, in the order in which it is to be made.
pub fn objects(chance: &mut Chance, seed: u64, nodes: &[Value]) -> Vec<Value> {
    let mut objects = vec![
        class(&format!("late-{seed}"), "WaitForFirstConsumer", "test.coracle/none", None),
        class(&format!("zoned-{seed}"), "WaitForFirstConsumer", "csi.test", Some("z1")),
        class(&format!("static-{seed}"), "WaitForFirstConsumer", "kubernetes.io/no-provisioner", None),
        class(&format!("now-{seed}"), "Immediate", "test.coracle/none", None),
    ];
    for node in nodes {
        if chance.percent(50) {
            let name = &node["metadata"]["name"];
            objects.push(
                json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name},
                "spec": {"drivers": [{"name": "csi.test", "nodeID": name,
                    "allocatable": {"count": chance.number(0..3)}}]}}),
            );
        }
    }
    for at in 0..chance.number(0..4) {
        objects.push(volume(chance, &format!("free-{seed}-{at}"), &format!("static-{seed}"), None));
    }
    for at in 0..chance.number(0..6) {
        let (namespace, _) = *chance.one(NAMESPACES);
        let name = format!("bound-{seed}-{at}");
        objects.push(volume(chance, &name, "", Some((namespace, &name))));
        let mode = *chance.one(&["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]);
        objects.push(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace,
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"accessModes": [mode], "volumeName": name, "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}}}}));
    }
    for at in 0..chance.number(0..6) {
        let (namespace, _) = *chance.one(NAMESPACES);
        let class = format!("{}-{seed}", *chance.one(&["late", "zoned", "static", "now", "absent"]));
        objects.push(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("open-{seed}-{at}"), "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": format!("{}Gi", chance.number(1..12))}}}}));
    }
    objects
}

/// The claims among `objects`, and one that is not there.
pub fn claims(objects: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let claims = objects.iter().filter(|object| object["kind"] == "PersistentVolumeClaim");
    let named = claims.map(|claim| (text(&claim["metadata"]["namespace"]), text(&claim["metadata"]["name"])));
    named.chain([("plain".to_owned(), "missing".to_owned())]).collect()
}

fn class(name: &str, mode: &str, provisioner: &str, zone: Option<&str>) -> Value {
    let mut class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
    if let Some(zone) = zone {
        class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": ZONE, "values": [zone]}]}]);
    }
    class
}

fn volume(chance: &mut Chance, name: &str, class: &str, claim: Option<(&str, &str)>) -> Value {
    let size = format!("{}Gi", chance.number(1..12));
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "capacity": {"storage": size}, "storageClassName": class,
            "csi": {"driver": "csi.test", "volumeHandle": name}}});
    if chance.percent(40) {
        let zones = *chance.one(&["z1", "z2", "z1__z3"]);
        volume["metadata"]["labels"] = json!({ZONE: zones});
    }
    if chance.percent(40) {
        let rule = json!({"key": ZONE, "operator": "In", "values": [*chance.one(&["z1", "z2"])]});
        volume["spec"]["nodeAffinity"] =
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}});
    }
    if let Some((namespace, claim)) = claim {
        volume["spec"]["claimRef"] = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim});
    }
    volume
}
