//! What stored objects cost in memory, by the byte of their JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::create::{DATA, config_map, unique};
use super::{Client, Clients, LoadError, NAMESPACE, pod, together};
use crate::kubeconfig::Access;
use crate::process::Family;

const MAKERS: usize = 32;

/// Makes so many ConfigMaps of 1 KB and pods of 5 KB: how much the server's resident memory grows by, and how many
/// times their JSON that is.
///
/// # Errors
/// When one cannot be made.
pub async fn measure(access: &Access, pid: u32, config_maps: usize, pods: usize) -> Result<Value, LoadError> {
    let family = Family::of(pid);
    let connections = Clients::connect(access, MAKERS).await?;
    connections.client(0).await?.furnish().await?;
    let prefix = unique();
    // What the first of each kind make the server do once is not what objects cost.
    make(&connections, &format!("{prefix}w"), 10, 10).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = family.resident();
    let bytes = make(&connections, &prefix, config_maps, pods).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let grown = family.resident().saturating_sub(before) as f64;
    Ok(json!({
        "objects": config_maps + pods,
        "bytes": bytes,
        "grown_mb": grown / 1e6,
        "per_byte": grown / bytes.max(1) as f64,
    }))
}

// Returns how many bytes their JSON has, as the server shows it.
async fn make(
    connections: &Clients,
    prefix: &str,
    config_maps: usize,
    pods: usize,
) -> Result<usize, LoadError> {
    let bytes = Arc::new(AtomicUsize::new(0));
    let clients = connections.first(MAKERS).await?.into_iter().enumerate();
    together(clients, |(number, client): (usize, Client)| {
        fill(client, prefix.to_owned(), number, (config_maps, pods), bytes.clone())
    })
    .await?;
    Ok(bytes.load(Ordering::Relaxed))
}

async fn fill(
    mut client: Client,
    prefix: String,
    first: usize,
    (config_maps, pods): (usize, usize),
    bytes: Arc<AtomicUsize>,
) -> Result<Vec<Duration>, LoadError> {
    let filler = "x".repeat(DATA);
    let mut make = async |collection: &str, body: Bytes| {
        let answer =
            client.ask("POST", &format!("/api/v1/namespaces/{NAMESPACE}/{collection}"), body).await?;
        bytes.fetch_add(answer.len(), Ordering::Relaxed);
        Ok::<(), LoadError>(())
    };
    for number in (first..config_maps).step_by(MAKERS) {
        make("configmaps", config_map(&prefix, number, &filler)).await?;
    }
    for number in (first..pods).step_by(MAKERS) {
        make("pods", pod(&format!("{prefix}-{number}"))).await?;
    }
    Ok(Vec::new())
}
