//! A cluster: store, API server, controllers, scheduler, nodes. Started in
//! this order, stopped in reverse.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use apiserver_lite::{
    ApiServer, InProcess,
    authn::{User, issuer::Issuer},
    config::Config,
    custom,
    registry::{self, Registry, Rows},
    resources,
    server::{Listener, Tls},
    watch::Hub,
};
use coracle_controllers::{
    api_service_availability, flow_schema_status,
    framework::Setup,
    service_repair::{self, Repair},
};
use coracle_store::{Embedded, Found, Mode, Store, StoreError};
use futures::FutureExt;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    builder::Builder,
    data_dir::{Held, HoldError},
    kubeconfig,
    pki::{Pki, PkiError},
};

const LOCAL_VOLUMES: &str = "/var/lib/coracle/volumes";

/// How a cluster is to be.
#[derive(Clone)]
pub struct Options {
    /// Where its data is kept.
    pub store: Mode,
    /// Where its API server listens; `None`: nowhere, only in this process.
    pub listen: Option<SocketAddr>,
    /// Its certificates and keys; `None`: new ones, which end with it.
    pub pki: Option<Pki>,
    /// The address that clients in the cluster reach it by; `None`: the one it listens at.
    pub advertise: Option<IpAddr>,
    /// The controllers that run, in upstream's syntax.
    pub controllers: String,
    /// How they run. Which, and the CA certificate, is filled in.
    pub control: coracle_controllers::Config,
    /// Whether a scheduler runs.
    pub scheduler: bool,
    /// The number of simulated nodes.
    pub nodes: usize,
    /// What they are like. How many is filled in. With `pools`, the cluster
    /// is given the kinds NodePool and Stage.
    pub simulation: coracle_node::simulated::Config,
    /// The API server's settings.
    pub config: Config,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: Mode::Memory,
            listen: None,
            pki: None,
            advertise: None,
            controllers: "*".to_owned(),
            control: coracle_controllers::Config::default(),
            scheduler: true,
            nodes: 1,
            simulation: coracle_node::simulated::Config::default(),
            config: Config::default(),
        }
    }
}

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not open.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The directory for its data cannot be made.
    #[error("{path}: {error}")]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another cluster runs on the directory.
    #[error("{0}")]
    Hold(#[from] HoldError),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why, with the holder where that is known.
        reason: String,
    },
    /// A controller that does not exist.
    #[error("--controllers: {0}")]
    Controllers(String),
    /// The certificates are no use.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// The key that signs tokens is no use.
    #[error("sa.key: {0}")]
    TokenKey(String),
    /// Coracle's own kinds could not be given to it.
    #[error("cannot define NodePool and Stage: {0}")]
    Definitions(String),
    /// The objects that every cluster has could not be made.
    #[error("cannot set the cluster up: {0}")]
    Bootstrap(String),
}

/// A running cluster.
///
/// It runs until it is [stopped](Cluster::stop), which waits for all of it. One
/// that is dropped ends as well, but nobody waits: its tasks are cut off, and
/// its store takes no further writes. What was acknowledged is safe either way.
/// Clients that outlive it are answered with errors.
pub struct Cluster {
    server: Arc<ApiServer>,
    store: Arc<Embedded>,
    address: Option<SocketAddr>,
    pki: Option<Pki>,
    // In the order of their start.
    parts: Vec<Part>,
    // Let go of last.
    held: Option<Held>,
}

struct Part {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Part {
    fn start(run: impl FnOnce(CancellationToken) -> JoinSet<()>) -> Self {
        let shutdown = CancellationToken::new();
        Self { tasks: run(shutdown.clone()), shutdown }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Cluster {
    /// A cluster in the making: in memory, with all controllers, a scheduler and
    /// one node, unless it is told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a cluster. When this returns, its API server answers.
    ///
    /// # Errors
    /// Nothing runs then.
    pub async fn start(mut options: Options) -> Result<Self, StartError> {
        let pki = match (options.pki.take(), options.listen) {
            (None, Some(address)) => {
                Some(Pki::ephemeral(&addresses(address.ip(), &options.config.service_range))?)
            }
            (pki, _) => pki,
        };
        let mut controllers = options.control;
        // Where nodes are simulated, nobody writes there.
        controllers.local_volumes.get_or_insert_with(|| LOCAL_VOLUMES.into());
        controllers.controllers = coracle_controllers::Config::with_controllers(&options.controllers)
            .map_err(|error| StartError::Controllers(error.to_string()))?
            .controllers;
        // Pods wait for it, also where nobody needs it.
        controllers.root_ca = Some(match &pki {
            Some(pki) => pki.authority.certificate.clone(),
            None => Pki::lone_authority()?,
        });
        let rows = Rows::new(resources::builtins());
        let hub = Arc::new(Hub::new(options.config.history));
        for row in rows.all().iter().filter(|row| !row.facts.storage.is_empty()) {
            hub.feed(&registry::rows::prefix(&row.facts));
        }
        // Listen first: a second cluster on the same port learns it before it
        // touches anything.
        let listener = match options.listen.zip(pki.as_ref()) {
            None => None,
            Some((address, pki)) => Some(listen(address, pki).await?),
        };
        let store = Arc::new(Embedded::open(coracle_store::Options::new(options.store, hub.clone()))?);
        hub.starts_at(store.oldest(), store.revision());
        let mut config = options.config;
        let node_ports = config.node_ports;
        let address = listener.as_ref().and_then(|listener| listener.address().ok());
        if let Some(address) = address {
            config.advertise = address;
            if let Some(ip) = options.advertise {
                config.advertise.set_ip(ip);
            }
        }
        config.issuer = Some(Arc::new(issuer(pki.as_ref())?));
        config.client_authority = pki.as_ref().map(|pki| pki.authority.certificate.clone());
        let server = ApiServer::new(Registry::new(store.clone(), hub, config, rows));
        let loaded = server.registry.definitions.load(&*store).await;
        loaded.map_err(|error| StartError::Bootstrap(error.to_string()))?;
        registry::bootstrap::run(&server.registry)
            .await
            .map_err(|error| StartError::Bootstrap(error.to_string()))?;
        let mut cluster = Self { server, store, address, pki, parts: Vec::new(), held: None };
        if let Some(listener) = listener {
            let server = cluster.server.clone();
            cluster.start_part(|tasks, shutdown| {
                tasks.spawn(listener.serve(server, shutdown));
            });
        }
        let server = cluster.server.clone();
        server.registry.makes_defaults(true);
        cluster.start_part(|tasks, shutdown| {
            tasks.spawn(finish(server, shutdown));
        });
        let server = cluster.server.clone();
        cluster.start_part(|tasks, shutdown| {
            tasks.spawn(custom::keeper::run(server, shutdown));
        });
        let nodes = coracle_node::simulated::Config { count: options.nodes, ..options.simulation };
        if nodes.pools
            && let Err(error) = coracle_crds::install(&cluster.client()).await
        {
            cluster.stop().await;
            return Err(StartError::Definitions(error.to_string()));
        }
        let repair = Repair { node_ports, ..Repair::default() };
        cluster.start_loops(&controllers, &repair, options.scheduler, nodes);
        Ok(cluster)
    }

    fn start_part(&mut self, spawn: impl FnOnce(&mut JoinSet<()>, CancellationToken)) {
        self.parts.push(Part::start(|shutdown| {
            let mut tasks = JoinSet::new();
            spawn(&mut tasks, shutdown);
            tasks
        }));
    }

    // One set-up: the process watches each type once.
    fn start_loops(
        &mut self,
        controllers: &coracle_controllers::Config,
        repair: &Repair,
        scheduler: bool,
        nodes: coracle_node::simulated::Config,
    ) {
        let mut setup =
            Setup::new(self.client_as("system:kube-controller-manager"), controllers.clock.clone());
        setup.metrics = self.server.registry.metrics.registry.clone();
        coracle_controllers::start(&mut setup, controllers);
        setup.section();
        setup.client = self.client_as("system:apiserver");
        service_repair::start(&mut setup, repair);
        flow_schema_status::start(&mut setup);
        api_service_availability::start(&mut setup);
        if scheduler {
            setup.client = self.client_as("system:kube-scheduler");
            let config = coracle_scheduler::Config { host: "coracle".to_owned(), ..Default::default() };
            coracle_scheduler::start(&mut setup, config);
        }
        // Also when there are none: those of an earlier start have to go.
        setup.client = self.client_as("system:node");
        coracle_node::simulated::start(&mut setup, nodes);
        setup.client = self.client_as("system:kube-controller-manager");
        self.start_part(|tasks, shutdown| {
            tasks.spawn(setup.run(shutdown));
        });
    }

    /// A client of the cluster as its administrator, with no socket between.
    pub fn client(&self) -> kube::Client {
        self.client_as("kubernetes-admin")
    }

    /// The same as a tower service, for who puts a layer of their own between.
    pub fn service(&self) -> InProcess {
        self.service_as("kubernetes-admin")
    }

    /// A client as another user, a member of `groups` and of those that every
    /// user is in: what an operator may do can be tried as its own account.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = coracle::Cluster::builder().api_server_only().start().await?;
    /// use k8s_openapi::api::core::v1::Secret;
    ///
    /// let reader = cluster.client_for("system:serviceaccount:default:reader", &["system:serviceaccounts"]);
    /// let secrets: kube::Api<Secret> = kube::Api::default_namespaced(reader);
    /// let refused = secrets.get("a").await.unwrap_err();
    /// assert!(refused.to_string().contains("is forbidden"), "{refused}");
    /// # cluster.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn client_for(&self, user: &str, groups: &[&str]) -> kube::Client {
        kube::Client::new(InProcess::new(self.server.clone(), User::authenticated(user, groups)), "default")
    }

    fn client_as(&self, name: &str) -> kube::Client {
        kube::Client::new(self.service_as(name), "default")
    }

    fn service_as(&self, name: &str) -> InProcess {
        InProcess::new(self.server.clone(), User::authenticated(name, &["system:masters"]))
    }

    /// Where the API server listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The kubeconfig of the administrator, in YAML, with certificates and key in
    /// it; `None` where the API server does not [listen](Builder::listen).
    pub fn kubeconfig(&self) -> Option<String> {
        let (address, pki) = (self.address?, self.pki.as_ref()?);
        let config = kubeconfig::administrator(&kubeconfig::url(address), pki);
        serde_yaml_ng::to_string(&config).ok()
    }

    /// What was in the store at the start.
    pub fn found(&self) -> Found {
        self.store.found()
    }

    // Holds the directory until it has ended.
    pub(crate) fn holding(mut self, held: Held) -> Self {
        self.held = Some(held);
        self
    }

    /// Stops everything in the reverse order of its start. Every write that
    /// was acknowledged is safe then.
    pub async fn stop(mut self) {
        while let Some(part) = self.parts.pop() {
            part.stop().await;
        }
        self.server.registry.hub.close();
        self.store.close().await;
    }
}

impl Drop for Cluster {
    // Connections are not in the sets of tasks: they end because they are told.
    fn drop(&mut self) {
        while let Some(part) = self.parts.pop() {
            part.shutdown.cancel();
        }
        self.server.registry.hub.close();
        // The store is shared with whoever has a client. It closes when it is
        // first asked to; waiting for it is what a drop cannot do.
        let _closing = self.store.close().now_or_never();
    }
}

// Signs with the kept key; a cluster without certificates has a new one.
fn issuer(pki: Option<&Pki>) -> Result<Issuer, StartError> {
    let made = match pki {
        None => Issuer::ephemeral().map_err(|error| error.to_string()),
        Some(pki) => PrivatePkcs8KeyDer::from_pem_slice(pki.token_key.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|key| Issuer::new(key.secret_pkcs8_der()).map_err(|error| error.to_string())),
    };
    made.map_err(StartError::TokenKey)
}

// Makes the objects that may come a little later, and then again those that
// must not be missing. What fails is made at the next start.
async fn finish(server: Arc<ApiServer>, shutdown: CancellationToken) {
    let make = async {
        match registry::bootstrap::finish(&server.registry).await {
            Ok(()) => server.registry.makes_defaults(false),
            Err(error) => tracing::error!(%error, "the default objects could not all be made"),
        }
        registry::bootstrap::keep_up(&server.registry).await
    };
    tokio::select! {
        never = make => match never {},
        () = shutdown.cancelled() => {}
    }
}

async fn listen(address: SocketAddr, pki: &Pki) -> Result<Listener, StartError> {
    let tls = tls(pki).map_err(|reason| StartError::Listen { address, reason })?;
    Listener::bind(address, tls).await.map_err(|error| {
        let holder =
            (error.kind() == std::io::ErrorKind::AddrInUse).then(|| holder(address.port())).flatten();
        let reason = match holder {
            Some(holder) => format!("{error}; {holder} has it"),
            None => error.to_string(),
        };
        StartError::Listen { address, reason }
    })
}

fn tls(pki: &Pki) -> Result<Tls, String> {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificates = |pem: &str| -> Result<Vec<CertificateDer<'static>>, String> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    };
    Ok(Tls {
        chain: certificates(&pki.server.certificate)?,
        key: PrivateKeyDer::from_pem_slice(pki.server.key.as_bytes()).map_err(|error| error.to_string())?,
        client_authorities: certificates(&pki.authority.certificate)?,
    })
}

/// The addresses that a server listening at `listen` is reached at: those the
/// certificate must name.
pub fn addresses(listen: IpAddr, service_range: &str) -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    if !listen.is_unspecified() && !addresses.contains(&listen) {
        addresses.push(listen);
    }
    // The first address of the range is the `kubernetes` Service's.
    if let Some(IpAddr::V4(base)) = service_range.split('/').next().and_then(|text| text.parse().ok()) {
        addresses.push(IpAddr::V4((u32::from(base) + 1).into()));
    }
    addresses
}

/// The address of this machine that others reach it by, as its routes say;
/// upstream advertises it where the server listens at loopback or at all
/// addresses.
pub fn host_address(listen: IpAddr) -> Option<IpAddr> {
    // Nothing is sent: a datagram socket that is connected has only a route.
    let (here, elsewhere): (IpAddr, IpAddr) = match listen {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(198, 51, 100, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let socket = std::net::UdpSocket::bind((here, 0)).ok()?;
    socket.connect((elsewhere, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

// The process that listens at a port, as far as this user may know.
fn holder(port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().flat_map(|table| table.lines()).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let (_, state) = (fields.next()?, fields.next()?);
        let inode = fields.nth(5)?;
        (state == "0A" && local.ends_with(&wanted)).then(|| format!("socket:[{inode}]"))
    })?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == inode.as_str()));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {} ({})", process.file_name().to_string_lossy(), name.trim()));
        }
    }
    None
}
