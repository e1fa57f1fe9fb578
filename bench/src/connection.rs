//! One TLS connection to an API server, over HTTP/1.1 or HTTP/2.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::{Access, KubeconfigError};

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time.
    Http1,
    /// HTTP/2: as many at a time as the server allows.
    Http2,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The kubeconfig's certificates cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// No TCP or TLS connection.
    #[error("connecting: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke, or what came was not HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
}

/// An open connection. A clone of an HTTP/2 one shares it.
pub enum Connection {
    /// See [`Protocol::Http1`].
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    /// See [`Protocol::Http2`].
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// Large enough that flow control never makes a big list wait for the client.
const WINDOW: u32 = 16 << 20;

impl Connection {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    /// When there is no server, it is not the one expected, or does not speak `protocol`.
    pub async fn open(access: &Access, protocol: Protocol) -> Result<Self, ConnectionError> {
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let tcp = TcpStream::connect((access.host.as_str(), access.port)).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(access.tls(alpn)?).connect(access.server_name()?, tcp).await?;
        let io = TokioIo::new(tls);
        Ok(match protocol {
            Protocol::Http1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                // Ends when the sender is dropped; what breaks it, the sender reports.
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .max_frame_size(1 << 20)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        })
    }

    /// Another handle on the same connection; none for HTTP/1.1, which carries one request at a time.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Whether another request may be tried on it.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    /// Sends one request and returns when the answer's head is there.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ConnectionError> {
        Ok(match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Sends one request and returns the whole answer.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub async fn fetch(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ConnectionError> {
        let (head, body) = self.send(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// A request of the form that both versions of HTTP take: an absolute URL, and the `Host` that HTTP/1.1 wants.
///
/// # Errors
/// When `path` is not one, or a header holds what a header may not.
pub fn request(
    access: &Access,
    protocol: Protocol,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let authority = format!("{}:{}", access.host, access.port);
    let mut builder = Request::builder().method(method);
    builder = match protocol {
        Protocol::Http1 => builder.uri(path).header(http::header::HOST, &authority),
        Protocol::Http2 => builder.uri(format!("https://{authority}{path}")),
    };
    if let Some(token) = &access.credentials.token {
        builder = builder.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(body))
}
