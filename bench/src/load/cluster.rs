//! A whole cluster that a measure starts, loads, looks at and stops.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::start::launch;
use super::{Client, Clients, LoadError, NAMESPACE};
use crate::kubeconfig::Access;
use crate::requests::Requests;
use crate::server::Server;

/// Until a cluster says that it is ready.
const READY: Duration = Duration::from_secs(120);
/// Until one that is told to has stopped.
const STOP: Duration = Duration::from_secs(60);
/// Who create at the same time.
const CLIENTS: usize = 32;

/// A running cluster.
pub(super) struct Cluster {
    pub(super) server: Server,
    pub(super) access: Access,
    pub(super) clients: Clients,
}

impl Cluster {
    /// Starts it with the command that prints `ready URL KUBECONFIG`.
    pub(super) async fn start(command: &[String]) -> Result<Self, LoadError> {
        let server = Server::start(launch(command)?, READY).await?;
        let access = Access::from_kubeconfig(server.kubeconfig())?;
        let clients = Clients::connect(&access, CLIENTS).await?;
        Ok(Self { server, access, clients })
    }

    /// A client with the namespace and its account in place.
    pub(super) async fn furnished(&self) -> Result<Client, LoadError> {
        let mut client = self.client().await?;
        client.furnish().await?;
        Ok(client)
    }

    pub(super) async fn client(&self) -> Result<Client, LoadError> {
        self.clients.client(0).await
    }

    pub(super) async fn requests(&self) -> Result<Option<Requests>, LoadError> {
        Requests::read(&mut self.client().await?).await
    }

    /// Creates `count` objects at `path`, by so many clients as write at the same time.
    pub(super) async fn create(
        &self,
        path: &str,
        count: usize,
        object: impl Fn(usize) -> Value + Clone + Send + 'static,
    ) -> Result<(), LoadError> {
        let mut tasks = JoinSet::new();
        for first in 0..CLIENTS.min(count) {
            let mut client = self.clients.client(first).await?;
            let (path, object) = (path.to_owned(), object.clone());
            tasks.spawn(async move {
                for number in (first..count).step_by(CLIENTS) {
                    client.ask("POST", &path, Bytes::from(object(number).to_string())).await?;
                }
                Ok::<_, LoadError>(())
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined??;
        }
        Ok(())
    }

    /// Resident memory of all its processes, in MB.
    pub(super) fn resident_mb(&self) -> f64 {
        self.server.family().resident() as f64 / 1e6
    }

    /// Processor time that all its processes have used, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        self.server.family().cpu().as_secs_f64()
    }

    /// Processor time that it uses when left alone for so long, in percent of one core.
    pub(super) async fn idle_percent(&self, time: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.cpu_s());
        tokio::time::sleep(time).await;
        (self.cpu_s() - before) / begin.elapsed().as_secs_f64() * 100.0
    }

    pub(super) async fn stop(self) -> Result<(), LoadError> {
        Ok(self.server.stop(STOP).await?)
    }
}

/// A Deployment of pods with one container each, which asks for little.
pub(super) fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "main", "image": "registry.example.com/bench:1",
                        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    }],
                },
            },
        },
    })
}

/// A node that KWOK plays.
pub(super) fn node(number: usize) -> Value {
    let name = format!("node-{}", number + 1);
    let resources = json!({"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "status": {"capacity": resources, "allocatable": resources},
    })
}
