//! Many nodes, and more pods than fit on fewer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coracle::Options;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::cluster::{Outcome, create, with_options};

const NODES: usize = 200;
const DEPLOYMENTS: usize = 10;
const REPLICAS: usize = 100;
/// Pods that fit on one node: nearly all of the room is needed.
const ROOM: usize = 6;
/// On a busy machine a thousand pods take their time, and how much is not what is tested.
const PATIENCE: Duration = Duration::from_secs(600);

async fn deploy(client: &Client) -> Outcome {
    for number in 0..DEPLOYMENTS {
        let name = format!("d-{number}");
        create::<Deployment>(
            client,
            json!({
                "metadata": {"name": name},
                "spec": {
                    "replicas": REPLICAS,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name, "scale": "yes"}},
                        "spec": {"containers": [{"name": "main", "image": "example:1"}]},
                    },
                },
            }),
        )
        .await?;
    }
    Ok(())
}

/// Waits until every Deployment says that all its pods are available.
async fn until_available(client: &Client) -> Outcome {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = changes.boxed();
    let mut available = BTreeMap::new();
    let waiting = async {
        while let Some(deployment) = changes.try_next().await? {
            let count = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
            available.insert(deployment.name_any(), usize::try_from(count)?);
            if available.values().sum::<usize>() == DEPLOYMENTS * REPLICAS {
                return Ok(());
            }
        }
        Err("the watch has ended".into())
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not all became available: {available:?}").into()),
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_come_up_on_two_hundred_nodes() {
    let mut options = Options { nodes: NODES, ..Options::default() };
    options.simulation.capacity.pods = ROOM.to_string();
    let outcome = with_options(options, async |client| {
        deploy(&client).await?;
        until_available(&client).await?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
        let ready: BTreeSet<String> =
            nodes.iter().filter(|node| is_ready(node)).map(ResourceExt::name_any).collect();
        assert_eq!(ready.len(), NODES, "nodes that are ready");

        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let pods = pods.list(&ListParams::default().labels("scale=yes")).await?.items;
        assert_eq!(pods.len(), DEPLOYMENTS * REPLICAS, "pods, none too many");
        let (mut addresses, mut on_node) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
        for pod in &pods {
            let (name, status) = (pod.name_any(), pod.status.clone().unwrap_or_default());
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            assert_eq!(status.phase.as_deref(), Some("Running"), "{name}");
            assert!(ready.contains(&node), "{name} is on {node:?}");
            let address = status.pod_ip.unwrap_or_default();
            assert!(!address.is_empty() && addresses.insert(address.clone()), "{name} has {address:?}");
            *on_node.entry(node).or_default() += 1;
        }
        let full: Vec<_> = on_node.iter().filter(|(_, count)| **count > ROOM).collect();
        assert!(full.is_empty(), "nodes with more than they hold: {full:?}");
        Ok(())
    })
    .await;
    outcome.unwrap();
}
