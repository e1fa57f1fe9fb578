//! Creates: what one write costs, and how many a second there can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Client, Clients, LoadError, NAMESPACE};
use crate::kubeconfig::Access;
use crate::sample::Sample;

/// Data of this many bytes makes a ConfigMap of about one kilobyte.
pub(super) const DATA: usize = 850;

/// Creates ConfigMaps with so many clients for so long: rate, and latency in milliseconds.
///
/// # Errors
/// When any create fails.
pub async fn measure(access: &Access, clients: usize, time: Duration) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, clients).await?;
    connections.client(0).await?.furnish().await?;
    let prefix = unique();
    // What a server does once, at its first requests, is not what is measured.
    let warm =
        run(&connections, clients, time.min(Duration::from_secs(1)), &format!("{prefix}-w"), usize::MAX)
            .await?;
    let begin = Instant::now();
    let latencies = run(&connections, clients, time, &prefix, usize::MAX).await?;
    let wall = begin.elapsed().as_secs_f64();
    let sample = Sample::of(latencies);
    Ok(json!({
        "clients": clients,
        "creates": sample.count(),
        "warm": warm.len(),
        "per_second": sample.count() as f64 / wall,
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
    }))
}

/// Creates so many ConfigMaps.
///
/// # Errors
/// When any create fails.
pub async fn fill(access: &Access, objects: usize) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, 64).await?;
    connections.client(0).await?.furnish().await?;
    let made = run(&connections, 64, Duration::from_secs(3600), &unique(), objects).await?;
    Ok(json!({"objects": made.len()}))
}

async fn run(
    connections: &Clients,
    clients: usize,
    time: Duration,
    prefix: &str,
    limit: usize,
) -> Result<Vec<Duration>, LoadError> {
    let deadline = Instant::now() + time;
    let given = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let client = connections.client(number).await?;
        tasks.spawn(create_until(client, deadline, prefix.to_owned(), given.clone(), limit));
    }
    let mut latencies = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        latencies.extend(joined??);
    }
    Ok(latencies)
}

async fn create_until(
    mut client: Client,
    deadline: Instant,
    prefix: String,
    given: Arc<AtomicUsize>,
    limit: usize,
) -> Result<Vec<Duration>, LoadError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let filler = "x".repeat(DATA);
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let number = given.fetch_add(1, Ordering::Relaxed);
        if number >= limit {
            break;
        }
        let body = config_map(&prefix, number, &filler);
        let begin = Instant::now();
        client.ask("POST", &path, body).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

pub(super) fn config_map(prefix: &str, number: usize, filler: &str) -> Bytes {
    // Text, not a tree: the client shares the machine with what it measures.
    Bytes::from(format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{prefix}-{number}"}},"data":{{"k":"{filler}"}}}}"#
    ))
}

/// A name that earlier runs against the same server did not use.
pub(super) fn unique() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("c{:x}", since.as_millis())
}
