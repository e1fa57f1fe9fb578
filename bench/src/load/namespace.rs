//! A namespace with many objects: until it is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::{LoadError, NAMESPACE};
use crate::watch::{Seen, until};

/// What is filled in, by turns.
const RESOURCES: [&str; 2] = ["configmaps", "secrets"];

/// Seconds from the deletion of a namespace of so many objects until it is gone.
///
/// # Errors
/// When the cluster does not start, or the namespace stays longer than `limit`.
pub async fn measure(command: &[String], objects: usize, limit: Duration) -> Result<Value, LoadError> {
    let cluster = Cluster::start(command).await?;
    let mut client = cluster.furnished().await?;
    for resource in RESOURCES {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{resource}");
        cluster
            .create(&path, objects / RESOURCES.len(), |number| {
                json!({"metadata": {"name": format!("o-{number}"), "labels": {"number": number.to_string()}}})
            })
            .await?;
    }
    let begin = Instant::now();
    let delete = async {
        client.ask("DELETE", &format!("/api/v1/namespaces/{NAMESPACE}"), Bytes::new()).await.map(drop)
    };
    let path = format!("/api/v1/namespaces?fieldSelector=metadata.name%3D{NAMESPACE}");
    let gone = until::<Anything>(&cluster.access, &path, limit, |seen| match seen {
        Seen::Begin => false,
        Seen::Event(event) => event.kind == "DELETED",
    });
    tokio::try_join!(gone, delete)?;
    let seconds = begin.elapsed().as_secs_f64();
    let resident_mb = cluster.resident_mb();
    cluster.stop().await?;
    Ok(json!({"objects": objects, "delete_s": seconds, "rss_mb": resident_mb}))
}

#[derive(Deserialize)]
struct Anything {}
