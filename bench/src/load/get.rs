//! Reads of one object: how many the server answers in a second of its processor time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Client, Clients, LoadError, NAMESPACE, pod};
use crate::kubeconfig::Access;
use crate::process::Family;
use crate::sample::Sample;

/// Gets a pod with so many clients for so long; processor time is that of process `pid` and its descendants.
///
/// # Errors
/// When any get fails.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    clients: usize,
    time: Duration,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, clients).await?;
    let mut first = connections.client(0).await?;
    first.furnish().await?;
    first.ensure(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), pod("read")).await?;
    let size = first.ask("GET", &path(), Bytes::new()).await?.len();
    run(&connections, clients, time.min(Duration::from_secs(1))).await?;
    let family = pid.map(Family::of);
    let (begin, before) = (Instant::now(), family.map(Family::cpu));
    let latencies = run(&connections, clients, time).await?;
    let (wall, cpu) = (
        begin.elapsed().as_secs_f64(),
        family.map(Family::cpu).zip(before).map(|(a, b)| a.saturating_sub(b)),
    );
    let sample = Sample::of(latencies);
    Ok(json!({
        "clients": clients,
        "gets": sample.count(),
        "bytes": size,
        "per_second": sample.count() as f64 / wall,
        "per_cpu_second": cpu.map(|cpu| sample.count() as f64 / cpu.as_secs_f64()),
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
    }))
}

fn path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/read")
}

async fn run(connections: &Clients, clients: usize, time: Duration) -> Result<Vec<Duration>, LoadError> {
    let deadline = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        tasks.spawn(get_until(connections.client(number).await?, deadline));
    }
    let mut latencies = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        latencies.extend(joined??);
    }
    Ok(latencies)
}

async fn get_until(mut client: Client, deadline: Instant) -> Result<Vec<Duration>, LoadError> {
    let path = path();
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let begin = Instant::now();
        client.ask("GET", &path, Bytes::new()).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}
