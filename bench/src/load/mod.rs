//! The measures: each is one function that returns its figures as JSON.

pub mod apply;
mod cluster;
pub mod create;
pub mod definitions;
pub mod garbage;
pub mod get;
pub mod leases;
pub mod list;
pub mod memory;
pub mod namespace;
pub mod nodes;
pub mod rollout;
pub mod schedule;
pub mod start;
pub mod stretch;
pub mod watch;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::connection::{Connection, ConnectionError, Protocol, request};
use crate::kubeconfig::{Access, KubeconfigError};
use crate::server::ServerError;

/// The namespace that all load goes to.
pub const NAMESPACE: &str = "bench";

/// Why a measure came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server cannot be reached as told.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// It does not answer.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It did not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It answered with an error.
    #[error("{request}: {status}: {body}")]
    Refused {
        /// What was asked.
        request: String,
        /// The status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// The request cannot be built.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// A task or a file failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// What came is not a watch.
    #[error("watching {path}: {reason}")]
    Watch {
        /// What was watched.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It did not come about in time.
    #[error("{what} is not as it should be after {limit:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: std::time::Duration,
    },
    /// A client's task was lost.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// Connections to a server, and clients that share them where the protocol allows it.
pub struct Clients {
    access: Access,
    protocol: Protocol,
    connections: Vec<Connection>,
}

/// How many clients share a connection: Go's servers allow 250 streams on one, and client programs have one each.
const SHARED_BY: usize = 50;

impl Clients {
    /// Opens HTTP/2 connections for so many clients: at least one, and for more than one at least two.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(access: &Access, clients: usize) -> Result<Self, LoadError> {
        Self::spread(access, clients.div_ceil(SHARED_BY).max(clients.min(2))).await
    }

    /// The same over any protocol: over HTTP/1.1 each client opens a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn over(access: &Access, protocol: Protocol, clients: usize) -> Result<Self, LoadError> {
        match protocol {
            Protocol::Http2 => Self::connect(access, clients).await,
            Protocol::Http1 => Ok(Self { access: access.clone(), protocol, connections: Vec::new() }),
        }
    }

    /// Opens exactly so many HTTP/2 connections.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn spread(access: &Access, count: usize) -> Result<Self, LoadError> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(access, Protocol::Http2).await?);
        }
        Ok(Self { access: access.clone(), protocol: Protocol::Http2, connections })
    }

    /// The client with this number.
    ///
    /// # Errors
    /// When its connection is shared by nobody, or cannot be opened.
    pub async fn client(&self, number: usize) -> Result<Client, LoadError> {
        let shared = self.connections.get(number % self.connections.len().max(1)).and_then(Connection::share);
        let connection = match shared {
            Some(connection) => connection,
            None => Connection::open(&self.access, self.protocol).await?,
        };
        Ok(Client::on(self.access.clone(), self.protocol, connection))
    }

    /// The first so many clients.
    ///
    /// # Errors
    /// As for [`Clients::client`].
    pub async fn first(&self, count: usize) -> Result<Vec<Client>, LoadError> {
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            clients.push(self.client(number).await?);
        }
        Ok(clients)
    }
}

/// One who asks, one request at a time.
pub struct Client {
    access: Access,
    protocol: Protocol,
    connection: Connection,
    accept: Option<String>,
    content_type: &'static str,
}

impl Client {
    /// One who asks on this connection, in JSON.
    fn on(access: Access, protocol: Protocol, connection: Connection) -> Self {
        Self { access, protocol, connection, accept: None, content_type: "application/json" }
    }

    /// The same, who wants answers of this type.
    #[must_use]
    pub fn accepting(mut self, accept: &str) -> Self {
        self.accept = Some(accept.to_owned());
        self
    }

    /// The same, whose bodies are of this type.
    #[must_use]
    pub fn sending(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Asks, and returns the body of a successful answer.
    ///
    /// # Errors
    /// When there is no answer, or it is not a success.
    pub async fn ask(&mut self, method: &str, path: &str, body: Bytes) -> Result<Bytes, LoadError> {
        let request = self.request(method, path, body)?;
        self.reconnect().await?;
        let answer = self.connection.fetch(request).await?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        Err(refused(method, path, answer.status().as_u16(), answer.body()))
    }

    // The real server closes what was idle for 90 seconds.
    async fn reconnect(&mut self) -> Result<(), LoadError> {
        if !self.connection.is_open() {
            self.connection = Connection::open(&self.access, self.protocol).await?;
        }
        Ok(())
    }

    /// Asks for something that does not end, and returns its body when the head of a successful answer is there.
    ///
    /// # Errors
    /// As for [`Client::ask`].
    pub async fn open(&mut self, path: &str) -> Result<Incoming, LoadError> {
        let request = self.request("GET", path, Bytes::new())?;
        self.reconnect().await?;
        let answer = self.connection.send(request).await?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(ConnectionError::from)?.to_bytes();
        Err(refused("GET", path, status, &body))
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type".to_owned(), self.content_type.to_owned()));
        }
        headers.extend(self.accept.iter().map(|accept| ("accept".to_owned(), accept.clone())));
        request(&self.access, self.protocol, method, path, &headers, body)
    }

    /// Makes the namespace, and the account that pods in it run as, if they are not there.
    ///
    /// # Errors
    /// When the server refuses otherwise than because they are there.
    pub async fn furnish(&mut self) -> Result<(), LoadError> {
        let object = |name: &str| Bytes::from(json!({"metadata": {"name": name}}).to_string());
        self.ensure("/api/v1/namespaces", object(NAMESPACE)).await?;
        self.ensure(&format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), object("default")).await
    }

    /// Creates what may be there already.
    ///
    /// # Errors
    /// As for [`Client::ask`].
    pub async fn ensure(&mut self, path: &str, body: Bytes) -> Result<(), LoadError> {
        match self.ask("POST", path, body).await {
            Ok(_) | Err(LoadError::Refused { status: 409, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn refused(method: &str, path: &str, status: u16, body: &[u8]) -> LoadError {
    let body = String::from_utf8_lossy(body).chars().take(300).collect();
    LoadError::Refused { request: format!("{method} {path}"), status, body }
}

/// Does `work` with each of these at the same time, and returns all latencies.
///
/// # Errors
/// The first error of any of them.
pub async fn together<T, W>(
    these: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> W,
) -> Result<Vec<Duration>, LoadError>
where
    W: Future<Output = Result<Vec<Duration>, LoadError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for it in these {
        tasks.spawn(work(it));
    }
    let mut latencies = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        latencies.extend(joined??);
    }
    Ok(latencies)
}

/// A pod of about five kilobytes when it is read back.
pub fn pod(name: &str) -> Bytes {
    let env: Vec<Value> =
        (0..25).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("the value of variable {n}, which is text")})).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "load"}},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "registry.example.com/bench:1", "env": env,
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}],
        },
    });
    Bytes::from(pod.to_string())
}
