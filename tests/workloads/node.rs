//! Nodes that fall silent, are tainted, or go.

use std::time::Duration;

use coracle::Options;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::cluster::{Outcome, create, until, until_all, with, with_options};

/// A cluster whose nodes are heard often, so that silence is soon noticed.
fn lively() -> Options {
    let mut options = Options { nodes: 2, ..Options::default() };
    options.simulation.renew_every = Duration::from_millis(200);
    options.control.nodes.monitor_period = Duration::from_millis(100);
    options.control.nodes.monitor_grace = Duration::from_secs(3);
    options.control.pod_collection.quarantine = Duration::from_secs(1);
    options
}

fn on(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|c| c.type_ == type_).map(|c| c.status.as_str())
}

fn is_tainted(node: &Node, key: &str, effect: &str) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == format!("node.kubernetes.io/{key}") && taint.effect == effect)
}

/// A node that is ready once, and never heard of again.
async fn silent_node(client: &Client) -> Outcome {
    let nodes: Api<Node> = Api::all(client.clone());
    let resources = json!({"cpu": "64", "memory": "64Gi", "pods": "110"});
    let node = json!({
        "metadata": {"name": "silent", "labels": {"kubernetes.io/hostname": "silent"}},
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                            "lastHeartbeatTime": "2024-01-01T00:00:00Z", "lastTransitionTime": "2024-01-01T00:00:00Z"}],
        },
    });
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    // Pods may come to it from then on.
    until(&nodes, "silent", |node| !is_tainted(node, "not-ready", "NoSchedule")).await?;
    Ok(())
}

async fn prefers_the_silent_node(client: &Client) -> Outcome {
    let term = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["silent"]});
    let tolerate = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    create::<ReplicaSet>(
        client,
        json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [{"name": "main", "image": "example:1"}],
                        "tolerations": [tolerate("not-ready"), tolerate("unreachable")],
                        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 100, "preference": {"matchExpressions": [term]}},
                        ]}},
                    },
                },
            },
        }),
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_silent_node_come_up_elsewhere() {
    let outcome = with_options(lively(), async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        silent_node(&client).await?;
        prefers_the_silent_node(&client).await?;
        let first = until_all(&pods, "app=web", |pods| pods.iter().any(|pod| on(pod).is_some())).await?;
        let name = first.first().map(ResourceExt::name_any).unwrap_or_default();
        assert_eq!(first.first().and_then(on), Some("silent"));
        // As its kubelet would have said while it lived.
        let ready =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(ready)).await?;

        let lost = |node: &Node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|c| c.type_ == "Ready").any(|c| {
                c.status == "Unknown"
                    && c.reason.as_deref() == Some("NodeStatusUnknown")
                    && c.message.as_deref() == Some("Kubelet stopped posting node status.")
            })
        };
        until(&nodes, "silent", |node| {
            lost(node)
                && is_tainted(node, "unreachable", "NoSchedule")
                && is_tainted(node, "unreachable", "NoExecute")
        })
        .await?;
        until(&pods, &name, |pod| {
            condition(pod, "Ready") == Some("False")
                && condition(pod, "DisruptionTarget") == Some("True")
                && pod.metadata.deletion_timestamp.is_some()
        })
        .await?;
        until_all(&pods, "app=web", |pods| {
            pods.iter().any(|pod| pod.name_any() != name && condition(pod, "Ready") == Some("True"))
        })
        .await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let told = |events: &[Event], reason: &str, message: &str| {
            events
                .iter()
                .any(|e| e.reason.as_deref() == Some(reason) && e.message.as_deref() == Some(message))
        };
        let marking = format!("Marking for deletion Pod default/{name}");
        until_all(&events, "", |events| {
            told(events, "NodeNotReady", "Node is not ready")
                && told(events, "TaintManagerEviction", &marking)
        })
        .await?;

        // The machine is written off: what was left of its pods goes.
        nodes.delete("silent", &DeleteParams::default()).await?;
        until_all(&pods, "app=web", |pods| pods.iter().all(|pod| pod.name_any() != name)).await?;
        Ok(())
    });
    outcome.await.expect("pods of a silent node come up elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_that_goes_in_time_spares() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        create::<Pod>(
            &client,
            json!({
                "metadata": {"name": "patient"},
                "spec": {
                    "nodeName": "node-1",
                    "containers": [{"name": "main", "image": "example:1"}],
                    "tolerations": [{"key": "ill", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}],
                },
            }),
        )
        .await?;
        until(&pods, "patient", |pod| condition(pod, "Ready") == Some("True")).await?;
        let taint = |taints: serde_json::Value| Patch::Merge(json!({"spec": {"taints": taints}}));
        let params = PatchParams::default();
        nodes.patch("node-1", &params, &taint(json!([{"key": "ill", "effect": "NoExecute"}]))).await?;
        // One that does not tolerate it goes at once: after that, the other is marked too.
        create::<Pod>(
            &client,
            json!({
                "metadata": {"name": "frail"},
                "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "example:1"}]},
            }),
        )
        .await?;
        until_all(&pods, "", |pods| pods.iter().all(|pod| pod.name_any() != "frail")).await?;
        nodes.patch("node-1", &params, &taint(json!([]))).await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let spared = "Cancelling deletion of Pod default/patient";
        until_all(&events, "", |events| events.iter().any(|e| e.message.as_deref() == Some(spared))).await?;
        assert!(pods.get("patient").await?.metadata.deletion_timestamp.is_none());
        Ok(())
    });
    outcome.await.expect("a taint that goes in time spares");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_fleet_leaves_no_nodes_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let of = |nodes| Options {
        nodes,
        store: coracle_store::Mode::Relaxed(directory.path().to_owned()),
        ..Options::default()
    };
    let count = async |client: Client, expected: usize| -> Outcome {
        let nodes: Api<Node> = Api::all(client.clone());
        let foreign = |node: &Node| node.name_any() == "foreign";
        until_all(&nodes, "", |nodes| nodes.iter().filter(|node| !foreign(node)).count() == expected).await?;
        if nodes.get_opt("foreign").await?.is_none() {
            let foreign = serde_json::from_value(json!({"metadata": {"name": "foreign"}}))?;
            nodes.create(&PostParams::default(), &foreign).await?;
        }
        Ok(())
    };
    for nodes in [3, 1, 0] {
        let outcome = with_options(of(nodes), async |client| count(client, nodes).await);
        outcome.await.expect("the fleet is as large as it says");
    }
}
