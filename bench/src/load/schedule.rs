//! Scheduling, the whole way: from the first pod created to the last one that has a node.
//!
//! The shapes of nodes and pods are those of upstream's `scheduler_perf`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::create::unique;
use super::{Clients, LoadError, NAMESPACE};
use crate::connection::ConnectionError;
use crate::kubeconfig::Access;
use crate::process::Family;
use crate::sample::Sample;

/// So long may everything together take.
const LIMIT: Duration = Duration::from_secs(600);
/// How many make the nodes.
const MAKERS: usize = 32;
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// What the pods ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// CPU and memory
    Basic,
    /// To be in the zone of the others
    ZoneAffinity,
    /// To be alone on its node
    HostAntiAffinity,
    /// To be spread over three zones
    ZoneSpread,
}

impl Scenario {
    fn zone(self, number: usize) -> String {
        match self {
            Self::Basic | Self::HostAntiAffinity => format!("zone-{}", number % 50),
            Self::ZoneAffinity => "zone1".to_owned(),
            Self::ZoneSpread => format!("moon-{}", number % 3 + 1),
        }
    }

    fn wishes(self) -> Value {
        let near = |key: &str| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution":
                [{"labelSelector": {"matchLabels": {"color": "blue"}}, "topologyKey": key}]})
        };
        match self {
            Self::Basic => json!({}),
            Self::ZoneAffinity => json!({"affinity": {"podAffinity": near(ZONE)}}),
            Self::HostAntiAffinity => json!({"affinity": {"podAntiAffinity": near(HOST)}}),
            Self::ZoneSpread => json!({"topologySpreadConstraints": [{
                "maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"color": "blue"}}}]}),
        }
    }

    fn pod(self, name: &str) -> Bytes {
        let amounts = json!({"cpu": "100m", "memory": "500Mi"});
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.2", "ports": [{"containerPort": 80}],
                "resources": {"limits": amounts, "requests": amounts}}]});
        if let (Some(spec), Value::Object(wishes)) = (spec.as_object_mut(), self.wishes()) {
            spec.extend(wishes);
        }
        let metadata = json!({"name": name, "labels": {"color": "blue"}});
        Bytes::from(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string(),
        )
    }

    fn node(self, number: usize) -> Value {
        let name = format!("bench-node-{number:05}");
        let amounts = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {HOST: name, ZONE: self.zone(number)}},
            "status": {"capacity": amounts, "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]},
        })
    }
}

/// Makes so many nodes, and then so many pods with so many clients; the rate is that at which pods get nodes.
/// Processor time is that of process `pid` and its descendants, from the first pod to the last.
///
/// # Errors
/// When anything cannot be made, or pods stay without node.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    scenario: Scenario,
    nodes: usize,
    pods: usize,
    clients: usize,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, clients.max(MAKERS)).await?;
    connections.client(0).await?.furnish().await?;
    furnish(&connections, scenario, nodes).await?;
    let prefix = unique();
    // What is done once, at the first pod, is not what is measured.
    place(&connections, scenario, &format!("{prefix}-w"), clients, clients).await?;
    let family = pid.map(Family::of);
    let before = family.map(Family::cpu);
    let begin = Instant::now();
    let latencies = place(&connections, scenario, &prefix, pods, clients).await?;
    let wall = begin.elapsed().as_secs_f64();
    let cpu = family.map(Family::cpu).zip(before).map(|(after, before)| after.saturating_sub(before));
    let sample = Sample::of(latencies);
    Ok(json!({
        "nodes": nodes,
        "pods": pods,
        "per_second": pods as f64 / wall,
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
        "cpu_us_per_pod": cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / pods.max(1) as f64),
    }))
}

/// Makes the nodes, and takes off them the taint that new ones have until a controller sees that they are ready.
async fn furnish(connections: &Clients, scenario: Scenario, nodes: usize) -> Result<(), LoadError> {
    let mut tasks = JoinSet::new();
    for maker in 0..MAKERS {
        let mut client = connections.client(maker).await?;
        tasks.spawn(async move {
            for number in (maker..nodes).step_by(MAKERS) {
                let node = scenario.node(number);
                match client.ask("POST", "/api/v1/nodes", Bytes::from(node.to_string())).await {
                    Err(LoadError::Refused { status: 409, .. }) => continue,
                    Err(error) => return Err(error),
                    Ok(made) => {
                        let mut made: Value = serde_json::from_slice(&made).unwrap_or_default();
                        if made.pointer("/spec/taints").is_some() {
                            made["spec"]["taints"] = json!([]);
                            let path =
                                format!("/api/v1/nodes/{}", made["metadata"]["name"].as_str().unwrap_or(""));
                            client.ask("PUT", &path, Bytes::from(made.to_string())).await?;
                        }
                    }
                }
            }
            Ok::<(), LoadError>(())
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    Ok(())
}

/// Makes pods, and waits until each has a node: how long each took.
async fn place(
    connections: &Clients,
    scenario: Scenario,
    prefix: &str,
    pods: usize,
    clients: usize,
) -> Result<Vec<Duration>, LoadError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut client = connections.client(0).await?;
    let list: Listed = read(&client.ask("GET", &format!("{path}?limit=1"), Bytes::new()).await?)?;
    let watch = format!(
        "{path}?watch=true&fieldSelector=spec.nodeName!%3D&resourceVersion={}",
        list.metadata.resource_version
    );
    let watching = client.open(&watch).await?;
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (mut client, path, prefix) = (connections.client(number).await?, path.clone(), prefix.to_owned());
        tasks.spawn(async move {
            for number in (number..pods).step_by(clients.max(1)) {
                client.ask("POST", &path, scenario.pod(&format!("{prefix}-{number}"))).await?;
            }
            Ok::<(), LoadError>(())
        });
    }
    let placed = placed(watching, prefix, pods, begin);
    let latencies = tokio::time::timeout(LIMIT, placed).await.map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::TimedOut, format!("pods without node after {LIMIT:?}"))
    })??;
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    Ok(latencies)
}

/// Reads the watch until so many pods with names that begin with `prefix` have nodes.
async fn placed(
    mut watch: hyper::body::Incoming,
    prefix: &str,
    pods: usize,
    begin: Instant,
) -> Result<Vec<Duration>, LoadError> {
    let (mut seen, mut times) = (HashSet::new(), Vec::with_capacity(pods));
    let mut rest: Vec<u8> = Vec::new();
    while seen.len() < pods {
        let frame = watch.frame().await.ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the watch of pods ended")
        })?;
        if let Ok(data) = frame.map_err(ConnectionError::from)?.into_data() {
            rest.extend_from_slice(&data);
        }
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in rest[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Event = read(line)?;
            let name = event.object.metadata.name;
            if name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-')) && seen.insert(name) {
                times.push(begin.elapsed());
            }
        }
        rest.drain(..whole);
    }
    Ok(times)
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| std::io::Error::from(error).into())
}

#[derive(Deserialize)]
struct Listed {
    metadata: ListedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMeta {
    resource_version: String,
}

#[derive(Deserialize)]
struct Event {
    object: Seen,
}

#[derive(Deserialize)]
struct Seen {
    metadata: SeenMeta,
}

#[derive(Deserialize)]
struct SeenMeta {
    #[serde(default)]
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_and_nodes_have_the_shapes_of_their_scenario() {
        let check = |scenario: Scenario, pointer: &str, expected: Value, zone: &str| {
            let pod: Value = serde_json::from_slice(&scenario.pod("p")).unwrap();
            assert_eq!(pod.pointer(pointer).cloned().unwrap_or_default(), expected, "{pod}");
            assert_eq!(scenario.node(4)["metadata"]["labels"][ZONE], zone);
        };
        let first = "requiredDuringSchedulingIgnoredDuringExecution/0/topologyKey";
        check(Scenario::Basic, "/spec/affinity", Value::Null, "zone-4");
        check(Scenario::ZoneAffinity, &format!("/spec/affinity/podAffinity/{first}"), json!(ZONE), "zone1");
        check(
            Scenario::HostAntiAffinity,
            &format!("/spec/affinity/podAntiAffinity/{first}"),
            json!(HOST),
            "zone-4",
        );
        check(Scenario::ZoneSpread, "/spec/topologySpreadConstraints/0/maxSkew", json!(5), "moon-2");
    }
}
