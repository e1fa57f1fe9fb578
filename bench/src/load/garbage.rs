//! Many objects of one owner: until they are gone after it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::rollout::gone;
use super::{LoadError, NAMESPACE};

/// Seconds from the deletion, in the background, of an owner of so many objects until they are gone.
///
/// # Errors
/// When the cluster does not start, or some of the objects stay longer than `limit`.
pub async fn measure(command: &[String], objects: usize, limit: Duration) -> Result<Value, LoadError> {
    let cluster = Cluster::start(command).await?;
    let mut client = cluster.furnished().await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let owner = json!({"metadata": {"name": "owner"}});
    let owner = client.ask("POST", &path, Bytes::from(owner.to_string())).await?;
    let owner: Value = serde_json::from_slice(&owner).map_err(std::io::Error::from)?;
    let reference =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]);
    cluster
        .create(&path, objects, move |number| {
            json!({"metadata": {"name": format!("o-{number}"), "labels": {"owned": "yes"}, "ownerReferences": reference}})
        })
        .await?;
    let begin = Instant::now();
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    let delete = async {
        client.ask("DELETE", &format!("{path}/owner"), Bytes::from(options.to_string())).await.map(drop)
    };
    tokio::try_join!(gone(&cluster.access, "configmaps", "owned", "yes", limit), delete)?;
    let seconds = begin.elapsed().as_secs_f64();
    let resident_mb = cluster.resident_mb();
    cluster.stop().await?;
    Ok(json!({"objects": objects, "collect_s": seconds, "rss_mb": resident_mb}))
}
