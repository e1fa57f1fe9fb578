//! `coracle up`

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use coracle_store::Mode;
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, controllers::Settings};
use crate::{
    Cluster, Options, cluster,
    data_dir::{DataDir, Held, Running},
    kubeconfig,
    pki::{Names, Pki},
};

/// The most nodes whose pods' events somebody may want to read.
const READ_BY_PEOPLE: usize = 100;

#[derive(Args)]
pub(super) struct Up {
    #[command(flatten)]
    place: Place,
    /// Where the API server listens; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The address that clients in the cluster reach the API server by; by default where it listens, or, when that is
    /// loopback or all addresses, that of this machine's default route
    #[arg(long, value_name = "IP")]
    advertise_address: Option<IpAddr>,
    /// More names or addresses that the server's certificate is good for
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    tls_san: Vec<String>,
    /// Write the kubeconfig there, and merge it nowhere
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How data is kept: on disk before a write is acknowledged, on disk soon after, or not at all
    #[arg(long, value_enum, default_value_t = Durability::Durable)]
    store: Durability,
    /// How many simulated nodes there are
    #[arg(long, default_value_t = 1, value_name = "N")]
    nodes: usize,
    /// Whether simulated nodes report of each pod that its images were pulled and its containers created and started
    /// [default: while there are no more than 100 nodes: thousands are there for load, and nobody reads theirs]
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_short_help = true)]
    pod_events: Option<bool>,
    /// Whether NodePools and Stages are on offer; without them the cluster has no kinds but Kubernetes' own
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    node_pools: bool,
    #[command(flatten)]
    controllers: Settings,
    /// Whether a scheduler runs
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    scheduler: bool,
    /// The range of cluster IPs
    #[arg(long, default_value = "10.96.0.0/12", value_name = "CIDR")]
    service_cluster_ip_range: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durability {
    Durable,
    Relaxed,
    Memory,
}

impl Up {
    pub(super) fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        let done = runtime.block_on(self.serve());
        // Nothing is left that may not be cut off.
        runtime.shutdown_background();
        done
    }

    async fn serve(self) -> Result<(), String> {
        // Before anything is started: a signal that comes early is not lost.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let path = self.place.path()?;
        let data = DataDir::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let held = data.hold().map_err(|error| error.to_string())?;
        let pki = Pki::load_or_create(&data.pki(), &self.names()).map_err(|error| error.to_string())?;
        let cluster = Cluster::start(self.options(&data, &pki)?).await.map_err(|error| error.to_string())?;
        let announced = self.announce(&data, &held, &pki, &cluster);
        if announced.is_ok() {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            eprintln!("stopping");
        }
        cluster.stop().await;
        drop(held);
        announced
    }

    fn advertised(&self) -> Option<IpAddr> {
        let listen = self.listen.ip();
        let hidden = listen.is_loopback() || listen.is_unspecified();
        self.advertise_address.or_else(|| if hidden { cluster::host_address(listen) } else { None })
    }

    fn names(&self) -> Names {
        let mut addresses = cluster::addresses(self.listen.ip(), &self.service_cluster_ip_range);
        addresses.extend(self.advertised());
        let mut hosts = Vec::new();
        for name in &self.tls_san {
            match name.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => hosts.push(name.clone()),
            }
        }
        Names { addresses, hosts }
    }

    fn options(&self, data: &DataDir, pki: &Pki) -> Result<Options, String> {
        let mut options = Options {
            store: match self.store {
                Durability::Durable => Mode::Durable(data.store()),
                Durability::Relaxed => Mode::Relaxed(data.store()),
                Durability::Memory => Mode::Memory,
            },
            listen: Some(self.listen),
            pki: Some(pki.clone()),
            advertise: self.advertised(),
            controllers: self.controllers.controllers.clone(),
            control: self.controllers.config()?,
            scheduler: self.scheduler,
            nodes: self.nodes,
            ..Options::default()
        };
        options.control.local_volumes = Some(data.volumes());
        options.simulation.pod_events = self.pod_events.unwrap_or(self.nodes <= READ_BY_PEOPLE);
        // Also with no node to begin with: a pool may bring some.
        options.simulation.pools = self.node_pools;
        options.config.service_range.clone_from(&self.service_cluster_ip_range);
        Ok(options)
    }

    // Says on stderr what runs where, writes the kubeconfig, and then says
    // `ready` on stdout.
    fn announce(&self, data: &DataDir, held: &Held, pki: &Pki, cluster: &Cluster) -> Result<(), String> {
        let url = kubeconfig::url(cluster.address().unwrap_or(self.listen));
        let config = kubeconfig::administrator(&url, pki);
        let file = self.kubeconfig.clone().unwrap_or_else(|| data.kubeconfig());
        kubeconfig::write(&file, &config).map_err(|error| error.to_string())?;
        let merged = match &self.kubeconfig {
            Some(_) => None,
            None => merge(&config),
        };
        let running = Running { pid: std::process::id(), url: url.clone(), kubeconfig: file.clone() };
        held.announce(&running).map_err(|error| format!("{}: {error}", data.path().display()))?;
        self.report(data, cluster, &url, merged.as_deref());
        println!("ready {url} {}", file.display());
        std::io::stdout().flush().map_err(|error| format!("stdout: {error}"))
    }

    fn report(&self, data: &DataDir, cluster: &Cluster, url: &str, merged: Option<&Path>) {
        eprintln!(
            "coracle {} (Kubernetes {})",
            env!("CARGO_PKG_VERSION"),
            apiserver_lite::health::KUBERNETES
        );
        let found = cluster.found();
        let kept = match self.store {
            Durability::Durable => {
                format!("{}, durable, {} objects found", data.path().display(), found.keys)
            }
            Durability::Relaxed => {
                format!("{}, relaxed, {} objects found", data.path().display(), found.keys)
            }
            Durability::Memory => "in memory, gone at the end".to_owned(),
        };
        eprintln!("  data        {kept}");
        if let Some(dropped) = found.dropped {
            eprintln!("              {} bytes of an unfinished write were dropped", dropped.bytes);
        }
        eprintln!("  API         {url}");
        let controllers = &self.controllers.controllers;
        let controllers = if controllers.is_empty() { "none" } else { controllers };
        eprintln!("  controllers {controllers}");
        eprintln!("  scheduler   {}", if self.scheduler { "on" } else { "off" });
        eprintln!("  nodes       {} simulated", self.nodes);
        if let Some(path) = merged {
            eprintln!("  kubectl     context {:?} is current in {}", kubeconfig::NAME, path.display());
        }
    }
}

// Merges into the file that kubectl reads and writes. Failing to is no reason
// not to run.
fn merge(config: &serde_yaml_ng::Value) -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let path = match listed {
        Some(list) => std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())?,
        None => PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"),
    };
    match kubeconfig::merge(&path, config) {
        Ok(()) => Some(path),
        Err(error) => {
            eprintln!("coracle: {error}");
            None
        }
    }
}
