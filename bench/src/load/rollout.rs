//! A large Deployment: until all of it is available, until all of it is replaced, until all of it is gone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster::{Cluster, deployment, node};
use super::nodes::nodes_ready;
use super::{LoadError, NAMESPACE};
use crate::kubeconfig::Access;
use crate::watch::{Seen, until};

const NAME: &str = "web";

/// What is rolled out.
#[derive(Clone, Copy, Debug)]
pub struct Rollout {
    /// How many pods the Deployment has.
    pub replicas: usize,
    /// How many nodes there are to be ready before it begins.
    pub nodes: usize,
    /// Whether they are made through the API; otherwise the command brings them.
    pub create_nodes: bool,
    /// How long any of it may take.
    pub limit: Duration,
}

/// Seconds each of creation, rolling update and deletion takes, and requests a pod from its creation to its running.
///
/// # Errors
/// When the cluster does not start, or not all comes about in time.
pub async fn measure(command: &[String], rollout: Rollout) -> Result<Value, LoadError> {
    let cluster = Cluster::start(command).await?;
    let Rollout { replicas, nodes, create_nodes, limit } = rollout;
    if create_nodes {
        cluster.create("/api/v1/nodes", nodes, node).await?;
    }
    nodes_ready(&cluster.access, nodes, limit).await?;
    let mut client = cluster.furnished().await?;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let before = cluster.requests().await?;

    let begin = Instant::now();
    client.ask("POST", &path, Bytes::from(deployment(NAME, replicas).to_string())).await?;
    rolled_out(&cluster.access, 1, limit).await?;
    let create_s = begin.elapsed().as_secs_f64();
    let requests = before.zip(cluster.requests().await?).map(|(before, after)| after.since(before, replicas));

    let begin = Instant::now();
    let mut changed = deployment(NAME, replicas);
    changed["spec"]["template"]["metadata"]["annotations"] = json!({"round": "2"});
    client.ask("PUT", &format!("{path}/{NAME}"), Bytes::from(changed.to_string())).await?;
    rolled_out(&cluster.access, 2, limit).await?;
    let update_s = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    let delete = async {
        client.ask("DELETE", &format!("{path}/{NAME}"), Bytes::from(options.to_string())).await.map(drop)
    };
    tokio::try_join!(gone(&cluster.access, "pods", "app", NAME, limit), delete)?;
    let delete_s = begin.elapsed().as_secs_f64();
    cluster.stop().await?;
    Ok(json!({
        "replicas": replicas,
        "create_s": create_s, "update_s": update_s, "delete_s": delete_s,
        "pod_requests": requests.map(|requests| requests.pods),
        "all_requests": requests.map(|requests| requests.all),
    }))
}

#[derive(Deserialize)]
struct Deployment {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    replicas: usize,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: i64,
    replicas: usize,
    updated_replicas: usize,
    available_replicas: usize,
}

impl Deployment {
    /// As `kubectl rollout status` sees it.
    fn is_rolled_out(&self, generation: i64) -> bool {
        let (want, status) = (self.spec.replicas, &self.status);
        status.observed_generation >= generation
            && [status.replicas, status.updated_replicas, status.available_replicas] == [want; 3]
    }
}

async fn rolled_out(access: &Access, generation: i64, limit: Duration) -> Result<(), LoadError> {
    let path =
        format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments?fieldSelector=metadata.name%3D{NAME}");
    until::<Deployment>(access, &path, limit, |seen| match seen {
        Seen::Begin => false,
        Seen::Event(event) => event.kind != "DELETED" && event.object.is_rolled_out(generation),
    })
    .await
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// Waits until there were objects of that label, and all of them are gone.
pub(super) async fn gone(
    access: &Access,
    resource: &str,
    label: &str,
    value: &str,
    limit: Duration,
) -> Result<(), LoadError> {
    let (mut left, mut any) = (HashSet::new(), false);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/{resource}?labelSelector={label}%3D{value}");
    until::<Named>(access, &path, limit, |seen| {
        match seen {
            Seen::Begin => left.clear(),
            Seen::Event(event) if event.kind == "DELETED" => {
                left.remove(&event.object.metadata.name);
            }
            Seen::Event(event) => {
                any = true;
                left.insert(event.object.metadata.name);
            }
        }
        any && left.is_empty()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roll_outs() {
        let check = |status: Value, expected: bool| {
            let object: Deployment =
                serde_json::from_value(json!({"spec": {"replicas": 2}, "status": status})).unwrap();
            assert_eq!(object.is_rolled_out(3), expected, "{status}");
        };
        let status = |generation: i64, counts: [usize; 3]| {
            json!({"observedGeneration": generation, "replicas": counts[0],
                   "updatedReplicas": counts[1], "availableReplicas": counts[2]})
        };
        check(json!({}), false);
        check(status(3, [2, 2, 2]), true);
        check(status(2, [2, 2, 2]), false);
        check(status(3, [3, 2, 2]), false);
        check(status(3, [2, 1, 2]), false);
        check(status(3, [2, 2, 1]), false);
    }
}
