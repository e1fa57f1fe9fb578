//! A scheduler extender that writes down which nodes the real scheduler found, and may refuse them all.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Pods with this annotation get no node.
pub const REFUSE: &str = "decisions.test/refuse";
/// What the extender says of each node then.
pub const REFUSED: &str = "refused by the test";

/// The nodes found for each pod, by `namespace/name`.
pub type Found = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Arguments {
    pod: Pod,
    node_names: Vec<String>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    node_names: Vec<String>,
    failed_nodes: BTreeMap<String, &'static str>,
}

/// The running extender; it ends when dropped.
pub struct Extender {
    pub address: SocketAddr,
    pub found: Found,
    _serving: JoinSet<()>,
}

impl Extender {
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let found = Found::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, found.clone()));
        Ok(Self { address, found, _serving: serving })
    }
}

async fn serve(listener: TcpListener, found: Found) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let found = found.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(request, found.clone()));
            // A connection that breaks is the scheduler's to complain of.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(request: Request<Incoming>, found: Found) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = match serde_json::from_slice::<Arguments>(&body) {
        Ok(arguments) => filter(arguments, &found).await,
        Err(error) => return Ok(bad(&error.to_string())),
    };
    Ok(Response::new(Full::new(serde_json::to_vec(&answer).unwrap_or_default().into())))
}

fn bad(error: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(error.to_owned())));
    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
    response
}

async fn filter(arguments: Arguments, found: &Found) -> Answer {
    let Metadata { namespace, name, annotations } = arguments.pod.metadata;
    let names = arguments.node_names;
    found.lock().await.insert(format!("{namespace}/{name}"), names.iter().cloned().collect());
    if annotations.contains_key(REFUSE) {
        let failed_nodes = names.into_iter().map(|name| (name, REFUSED)).collect();
        return Answer { failed_nodes, ..Answer::default() };
    }
    Answer { node_names: names, ..Answer::default() }
}
