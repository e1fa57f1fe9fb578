//! Connections: TLS, HTTP/1.1 and HTTP/2, and their orderly end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::CipherSuite;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ApiServer,
    authn::certificate::Verifier,
    corked::{Corked, Serving},
    pipeline,
};

// A peer that connects and says nothing holds a socket for this long at most.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
// What connections have left to end in once the server stops.
const DRAIN: Duration = Duration::from_millis(500);
// Large frames and buffers: a long list then costs few system calls.
const FRAME: u32 = 1 << 20;
const STREAMS: u32 = 250;

/// What TLS needs.
pub struct Tls {
    /// The server's certificate and those between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server's key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities whose client certificates are trusted.
    pub client_authorities: Vec<CertificateDer<'static>>,
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// A listening server.
pub struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
}

impl Listener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When the address is taken or the certificates are no use.
    pub async fn bind(address: SocketAddr, tls: Tls) -> io::Result<Self> {
        let mut provider = rustls::crypto::ring::default_provider();
        // Of equally safe ciphers the cheapest, as Go's servers choose: a list is mostly encryption.
        provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
        let provider = Arc::new(provider);
        let mut roots = rustls::RootCertStore::empty();
        for authority in tls.client_authorities {
            roots.add(authority).map_err(io::Error::other)?;
        }
        let verifier = Arc::new(Verifier::new(roots, provider.clone()).map_err(io::Error::other)?);
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(tls.chain, tls.key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.max_fragment_size = None;
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, acceptor: TlsAcceptor::from(Arc::new(config)), verifier })
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`. From then on `/readyz` fails; after the delay
    /// that is configured there are no new connections, watches are ended, and
    /// requests in flight finish, but take no longer than half a second.
    pub async fn serve(self, server: Arc<ApiServer>, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let (draining, cut) = (CancellationToken::new(), CancellationToken::new());
        let stopping = async {
            shutdown.cancelled().await;
            server.registry.stops();
            tokio::time::sleep(server.registry.config.shutdown_delay).await;
        };
        tokio::pin!(stopping);
        loop {
            let accepted = tokio::select! {
                () = &mut stopping => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = Connection {
                        acceptor: self.acceptor.clone(),
                        verifier: self.verifier.clone(),
                        server: server.clone(),
                        draining: draining.clone(),
                        cut: cut.clone(),
                    };
                    connections.spawn(connection.run(stream));
                }
                Err(error) => {
                    // Out of descriptors, most likely: existing connections go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.socket);
        server.registry.hub.close();
        draining.cancel();
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            cut.cancel();
            connections.wait().await;
        }
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
    server: Arc<ApiServer>,
    // To end in order, and to end at once.
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.draining.cancelled() => return,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.server.registry.metrics.tls_errors.inc();
                return tracing::debug!(%error, "TLS handshake failed");
            }
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = self.verifier.judge(chain);
        let server = self.server;
        let service = service_fn(move |request| {
            // Boxed: a watch's stream is open for long and needs no room for how it began.
            let answer = Box::pin(pipeline::handle(server.clone(), peer.clone(), request));
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_frame_size(FRAME)
            .max_send_buf_size(FRAME as usize)
            .max_header_list_size(1 << 16)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(15));
        let stream = Corked::new(stream);
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream.clone()), service);
        let mut serving = Serving::new(serving, stream);
        tokio::select! {
            ended = &mut serving => return report(ended),
            () = self.draining.cancelled() => serving.connection().graceful_shutdown(),
        }
        tokio::select! {
            ended = serving => report(ended),
            () = self.cut.cancelled() => {}
        }
    }
}

fn report(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
