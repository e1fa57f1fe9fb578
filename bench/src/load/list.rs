//! Reads of many objects at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Client, Clients, LoadError, NAMESPACE, pod};
use crate::kubeconfig::Access;
use crate::process::Family;
use crate::sample::Sample;

const MAKERS: usize = 32;

/// Lists so many pods so many times; processor time is that of process `pid` and its descendants.
///
/// # Errors
/// When the pods cannot be made or listed.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    pods: usize,
    rounds: usize,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, MAKERS).await?;
    let mut client = connections.client(0).await?;
    client.furnish().await?;
    make(&connections, pods).await?;
    // From memory, as every informer asks; without it the real one asks etcd.
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dbench&resourceVersion=0");
    let bytes = client.ask("GET", &path, Bytes::new()).await?.len();
    let family = pid.map(Family::of);
    let before = family.map(Family::cpu);
    let mut walls = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        client.ask("GET", &path, Bytes::new()).await?;
        walls.push(begin.elapsed());
    }
    // What the server cleans up afterwards is a part of the price, too. The kernel counts in hundredths of a
    // second: one list may take less, all of them together do not.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cpu = family.map(Family::cpu).zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(json!({
        "pods": pods,
        "bytes": bytes,
        "wall_ms": Sample::of(walls).percentile(50.0).as_secs_f64() * 1e3,
        "cpu_ms": cpu.map(|cpu| cpu.as_secs_f64() * 1e3 / rounds as f64),
    }))
}

async fn make(connections: &Clients, pods: usize) -> Result<(), LoadError> {
    let mut tasks = JoinSet::new();
    for number in 0..MAKERS {
        let mut client: Client = connections.client(number).await?;
        tasks.spawn(async move {
            for pod_number in (number..pods).step_by(MAKERS) {
                let name = format!("listed-{pod_number}");
                client.ensure(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), pod(&name)).await?;
            }
            Ok::<(), LoadError>(())
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    Ok(())
}
