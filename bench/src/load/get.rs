//! Reads of one object: how many the server answers in a second of its processor time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::stretch::Stretch;
use super::{Client, Clients, LoadError, NAMESPACE, pod, together};
use crate::connection::Protocol;
use crate::kubeconfig::Access;
use crate::sample::Sample;

/// Gets a pod with so many clients for so long, as answers of type `accept`; processor time is that of process
/// `pid` and its descendants.
///
/// # Errors
/// When any get fails.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    (protocol, accept): (Protocol, &str),
    clients: usize,
    time: Duration,
) -> Result<Value, LoadError> {
    let connections = Clients::over(access, protocol, clients).await?;
    let mut first = connections.client(0).await?;
    first.furnish().await?;
    first.ensure(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), pod("read")).await?;
    let size = first.accepting(accept).ask("GET", &path(), Bytes::new()).await?.len();
    run(&connections, accept, clients, time.min(Duration::from_secs(1))).await?;
    let stretch = Stretch::begin(pid);
    let latencies = run(&connections, accept, clients, time).await?;
    let spent = stretch.spent();
    let sample = Sample::of(latencies);
    Ok(json!({
        "clients": clients,
        "gets": sample.count(),
        "bytes": size,
        "per_second": spent.per_second(sample.count()),
        "per_cpu_second": spent.per_cpu_second(sample.count()),
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
    }))
}

fn path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/read")
}

async fn run(
    connections: &Clients,
    accept: &str,
    clients: usize,
    time: Duration,
) -> Result<Vec<Duration>, LoadError> {
    let open = connections.first(clients).await?;
    let deadline = Instant::now() + time;
    together(open, |client| get_until(client.accepting(accept), deadline)).await
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
