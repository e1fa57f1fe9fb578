//! What the API server is told when it starts.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::authn::issuer::Issuer;

/// Where the server's time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::from(Timestamp::now)
    }

    /// A clock that a test owns.
    pub fn from(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// The validated configuration of one server.
#[derive(Clone)]
pub struct Config {
    /// Its time.
    pub clock: Clock,
    /// The largest body that a request may have, bytes.
    pub max_body: usize,
    /// The address of the API server that the `kubernetes` Service leads to.
    pub advertise: std::net::SocketAddr,
    /// What signs tokens of service accounts; without it there are none.
    pub issuer: Option<Arc<Issuer>>,
    /// The authority that client certificates are trusted of, in PEM, to be
    /// told to aggregated servers.
    pub client_authority: Option<String>,
    /// The range of cluster IPs, `--service-cluster-ip-range`.
    pub service_range: String,
    /// The range of node ports, `--service-node-port-range`, both ends in it.
    pub node_ports: (u16, u16),
    /// The seconds that a watch without a timeout lasts at least
    /// (`--min-request-timeout`); each lasts up to twice as long.
    pub min_watch_seconds: u64,
    /// How long the server goes on after it was told to stop
    /// (`--shutdown-delay-duration`): `/readyz` fails meanwhile, so that who
    /// balances load sends it no more.
    pub shutdown_delay: Duration,
    /// How long the body of a request may take.
    pub body_patience: Duration,
    /// How many past events of a resource a watch can start from.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            max_body: 3 * 1024 * 1024,
            advertise: std::net::SocketAddr::from(([127, 0, 0, 1], 6443)),
            issuer: None,
            client_authority: None,
            service_range: "10.96.0.0/12".to_owned(),
            node_ports: (30000, 32767),
            min_watch_seconds: 1800,
            shutdown_delay: Duration::ZERO,
            // Upstream gives a request 34 seconds, body and all.
            body_patience: Duration::from_secs(34),
            history: 10_000,
        }
    }
}
