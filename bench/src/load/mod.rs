//! The measures: each is one function that returns its figures as JSON.

mod cluster;
pub mod create;
pub mod garbage;
pub mod get;
pub mod list;
pub mod namespace;
pub mod nodes;
pub mod rollout;
pub mod schedule;
pub mod start;

use bytes::Bytes;
use serde_json::{Value, json};

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

/// HTTP/2 connections to a server, and clients that share them.
pub struct Clients {
    access: Access,
    connections: Vec<Connection>,
}

/// How many clients share a connection: Go's servers allow 250 streams on one, and client programs have one each.
const SHARED_BY: usize = 50;

impl Clients {
    /// Opens connections for so many clients: at least one, and for more than one at least two.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(access: &Access, clients: usize) -> Result<Self, LoadError> {
        let count = clients.div_ceil(SHARED_BY).max(clients.min(2));
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(access, Protocol::Http2).await?);
        }
        Ok(Self { access: access.clone(), connections })
    }

    /// The client with this number.
    ///
    /// # Errors
    /// When its connection is shared by nobody, or cannot be opened.
    pub async fn client(&self, number: usize) -> Result<Client, LoadError> {
        let shared = self.connections.get(number % self.connections.len().max(1)).and_then(Connection::share);
        let connection = match shared {
            Some(connection) => connection,
            None => Connection::open(&self.access, Protocol::Http2).await?,
        };
        Ok(Client { access: self.access.clone(), connection })
    }
}

/// One who asks, one request at a time.
pub struct Client {
    access: Access,
    connection: Connection,
}

impl Client {
    /// Asks, and returns the body of a successful answer.
    ///
    /// # Errors
    /// When there is no answer, or it is not a success.
    pub async fn ask(&mut self, method: &str, path: &str, body: Bytes) -> Result<Bytes, LoadError> {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let headers = if body.is_empty() { &[][..] } else { &headers[..] };
        let request = request(&self.access, Protocol::Http2, method, path, headers, body)?;
        let answer = self.connection.fetch(request).await?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let body = String::from_utf8_lossy(answer.body()).chars().take(300).collect();
        Err(LoadError::Refused {
            request: format!("{method} {path}"),
            status: answer.status().as_u16(),
            body,
        })
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
