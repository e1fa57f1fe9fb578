//! Reads of many objects at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::stretch::Stretch;
use super::{Client, Clients, LoadError, NAMESPACE, pod, together};
use crate::kubeconfig::Access;
use crate::sample::Sample;

const MAKERS: usize = 32;

/// What a list is asked for as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// All of them in JSON.
    Json,
    /// All of them in protobuf.
    Protobuf,
    /// As kubectl prints them.
    Table,
    /// Their metadata alone, as the garbage collector asks.
    Metadata,
    /// In JSON, by a label that all of them have.
    Label,
}

impl Form {
    fn accept(self) -> &'static str {
        match self {
            Self::Json | Self::Label => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::Table => "application/json;as=Table;v=v1;g=meta.k8s.io",
            Self::Metadata => "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        }
    }

    // From memory, as every informer asks; without it the real one asks etcd.
    fn path(self) -> String {
        let selector = if self == Self::Label { "&labelSelector=app%3Dbench" } else { "" };
        format!("/api/v1/namespaces/{NAMESPACE}/pods?resourceVersion=0{selector}")
    }
}

/// Lists so many pods so many times; processor time is that of process `pid` and its descendants.
///
/// # Errors
/// When the pods cannot be made or listed.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    form: Form,
    pods: usize,
    rounds: usize,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, MAKERS).await?;
    let mut client = connections.client(0).await?.accepting(form.accept());
    client.furnish().await?;
    make(&connections, pods).await?;
    // The first time round makes what is kept.
    let path = form.path();
    let bytes = client.ask("GET", &path, Bytes::new()).await?.len();
    let stretch = Stretch::begin(pid);
    let mut walls = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        client.ask("GET", &path, Bytes::new()).await?;
        walls.push(begin.elapsed());
    }
    // What the server cleans up afterwards is a part of the price, too. The kernel counts in hundredths of a
    // second: one list may take less, all of them together do not.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(json!({
        "pods": pods,
        "bytes": bytes,
        "wall_ms": Sample::of(walls).percentile(50.0).as_secs_f64() * 1e3,
        "cpu_ms": stretch.spent().cpu.map(|cpu| cpu * 1e3 / rounds as f64),
    }))
}

/// Makes the pods that are listed, where they are not there.
///
/// # Errors
/// When any create fails otherwise.
pub async fn make(connections: &Clients, pods: usize) -> Result<(), LoadError> {
    let clients = connections.first(MAKERS).await?.into_iter().enumerate();
    together(clients, |(number, mut client): (usize, Client)| async move {
        for pod_number in (number..pods).step_by(MAKERS) {
            let name = format!("listed-{pod_number}");
            client.ensure(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), pod(&name)).await?;
        }
        Ok(Vec::new())
    })
    .await
    .map(drop)
}
