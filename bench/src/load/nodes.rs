//! Nodes by the thousand, and pods on them: how soon, and what they cost when nothing happens.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster::{Cluster, deployment, node};
use super::{LoadError, NAMESPACE};
use crate::kubeconfig::Access;
use crate::watch::{Seen, until};

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Nodes.
    pub nodes: usize,
    /// Deployments.
    pub deployments: usize,
    /// Pods of each.
    pub replicas: usize,
    /// Whether the nodes are made through the API, by this measure: from its first request on their time counts.
    /// Otherwise the command brings them, and its own start counts.
    pub create_nodes: bool,
    /// How long any of it may take.
    pub limit: Duration,
    /// How long the cluster is left alone before its rest is measured.
    pub settle: Duration,
    /// How long its rest is measured.
    pub rest: Duration,
}

/// Seconds until all nodes are ready, seconds until all pods run, requests a pod, memory, and the cost of rest.
///
/// # Errors
/// When the cluster does not start, or not all comes about in time.
pub async fn measure(command: &[String], scale: Scale) -> Result<Value, LoadError> {
    let cluster = Cluster::start(command).await?;
    let (begin, cpu) = match scale.create_nodes {
        true => (Instant::now(), cluster.cpu_s()),
        false => (cluster.server.started(), 0.0),
    };
    let create = async {
        match scale.create_nodes {
            true => cluster.create("/api/v1/nodes", scale.nodes, node).await,
            false => Ok(()),
        }
    };
    tokio::try_join!(create, nodes_ready(&cluster.access, scale.nodes, scale.limit))?;
    let nodes_s = begin.elapsed().as_secs_f64();
    let nodes_cpu_s = cluster.cpu_s() - cpu;
    let nodes_mb = cluster.resident_mb();

    cluster.furnished().await?;
    let before = cluster.requests().await?;
    let pods = scale.deployments * scale.replicas;
    let (begin, cpu) = (Instant::now(), cluster.cpu_s());
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let replicas = scale.replicas;
    let create =
        cluster.create(&path, scale.deployments, move |number| deployment(&format!("d-{number}"), replicas));
    tokio::try_join!(create, pods_running(&cluster.access, pods, scale.limit))?;
    let pods_s = begin.elapsed().as_secs_f64();
    let pods_cpu_s = cluster.cpu_s() - cpu;
    let requests = before.zip(cluster.requests().await?).map(|(before, after)| after.since(before, pods));

    tokio::time::sleep(scale.settle).await;
    let idle_percent = cluster.idle_percent(scale.rest).await;
    let resident_mb = cluster.resident_mb();
    cluster.stop().await?;
    Ok(json!({
        "nodes": scale.nodes, "pods": pods,
        "nodes_s": nodes_s, "nodes_cpu_s": nodes_cpu_s, "nodes_mb": nodes_mb,
        "pods_s": pods_s, "pods_cpu_s": pods_cpu_s,
        "pod_requests": requests.map(|requests| requests.pods),
        "all_requests": requests.map(|requests| requests.all),
        "rss_mb": resident_mb, "idle_percent": idle_percent,
    }))
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Named {
    fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

/// Waits until so many nodes are ready.
pub(super) async fn nodes_ready(access: &Access, count: usize, limit: Duration) -> Result<(), LoadError> {
    let mut ready = HashSet::new();
    until::<Named>(access, "/api/v1/nodes", limit, |seen| {
        match seen {
            Seen::Begin => ready.clear(),
            Seen::Event(event) if event.kind != "DELETED" && event.object.is_ready() => {
                ready.insert(event.object.metadata.name);
            }
            Seen::Event(event) => {
                ready.remove(&event.object.metadata.name);
            }
        }
        ready.len() >= count
    })
    .await
}

/// Waits until so many pods run: the server selects them, so that each is told of once.
pub(super) async fn pods_running(access: &Access, count: usize, limit: Duration) -> Result<(), LoadError> {
    let mut running = HashSet::new();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=status.phase%3DRunning");
    until::<Named>(access, &path, limit, |seen| {
        match seen {
            Seen::Begin => running.clear(),
            Seen::Event(event) if event.kind == "DELETED" => {
                running.remove(&event.object.metadata.name);
            }
            Seen::Event(event) => {
                running.insert(event.object.metadata.name);
            }
        }
        running.len() >= count
    })
    .await
}
