//! Clients that mean harm, or are broken: raw bytes over TLS on loopback.
//!
//! Each scenario has a server of its own and, beside the hostile client, an
//! honest one that must go on being served. Nothing is timed: what must come
//! is waited for, and what must stay small is measured when the harm is done.

mod bodies;
mod drain;
mod floods;
mod heads;
mod raw;
mod slow;

use std::{future::Future, time::Duration};

use bytes::Bytes;
use coracle::{Cluster, Options, kubeconfig, pki::Pki};
use coracle_bench::{Access, Connection, Protocol, connection::request};
use http::Response;

/// How a scenario ends.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What no scenario takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server that listens, with nothing else in its cluster.
pub struct Target {
    /// The cluster.
    pub cluster: Cluster,
    /// How its administrator reaches it.
    pub access: Access,
}

impl Target {
    /// Starts one.
    pub async fn start(options: Options) -> Outcome<Self> {
        let pki = Pki::ephemeral(&["127.0.0.1".parse()?])?;
        let listen = Some(([127, 0, 0, 1], 0).into());
        let controllers = "serviceaccount-controller".to_owned();
        let cluster = Cluster::start(Options {
            nodes: 0,
            scheduler: false,
            controllers,
            listen,
            pki: Some(pki.clone()),
            ..options
        })
        .await?;
        let address = cluster.address().ok_or("it listens nowhere")?;
        let text = serde_yaml_ng::to_string(&kubeconfig::administrator(&format!("https://{address}"), &pki))?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("kubeconfig");
        std::fs::write(&file, text)?;
        Ok(Self { cluster, access: Access::from_kubeconfig(&file)? })
    }

    /// An honest client.
    pub async fn client(&self, protocol: Protocol) -> Outcome<Honest> {
        let connection = Connection::open(&self.access, protocol).await?;
        Ok(Honest { access: self.access.clone(), connection, protocol })
    }
}

/// A client that does what it should.
pub struct Honest {
    access: Access,
    connection: Connection,
    protocol: Protocol,
}

impl Honest {
    /// A whole exchange.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Outcome<Response<Bytes>> {
        self.send(method, path, "application/json", body).await
    }

    /// A whole exchange about a body of some type.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> Outcome<Response<Bytes>> {
        let headers = [("content-type".to_owned(), content_type.to_owned())];
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = request(&self.access, self.protocol, method, path, &headers, body)?;
        Ok(self.connection.fetch(request).await?)
    }

    /// Makes sure that it is served.
    pub async fn is_served(&mut self) -> Outcome {
        let answer = self.ask("GET", "/api/v1/namespaces/default", "").await?;
        if answer.status() == 200 { Ok(()) } else { Err(format!("{answer:?}").into()) }
    }

    /// Creates a ConfigMap of about so many bytes.
    pub async fn create(&mut self, name: &str, bytes: usize) -> Outcome {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"a":"{}"}}}}"#, "x".repeat(bytes));
        let answer = self.ask("POST", "/api/v1/namespaces/default/configmaps", &body).await?;
        if answer.status() == 201 { Ok(()) } else { Err(format!("{answer:?}").into()) }
    }

    /// The value that `/metrics` shows for a name and all of some labels.
    pub async fn metric(&mut self, name: &str, labels: &[&str]) -> Outcome<f64> {
        let page = self.ask("GET", "/metrics", "").await?;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        let line = page
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        Ok(line.and_then(|line| line.rsplit(' ').next()).map_or(Ok(0.0), str::parse)?)
    }
}

/// Runs a scenario against a server, and stops that.
pub async fn against<F: Future<Output = Outcome<Target>>>(
    options: Options,
    scenario: impl FnOnce(Target) -> F,
) -> Outcome {
    let target = Target::start(options).await?;
    let target = tokio::time::timeout(PATIENCE, scenario(target)).await.map_err(|_| "no end")??;
    target.cluster.stop().await;
    Ok(())
}
