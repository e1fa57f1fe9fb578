//! `coracle controllers`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use coracle_controllers::{
    Timing,
    framework::{Ended, Setup, Style},
};
use tokio_util::sync::CancellationToken;

use super::{
    alone,
    election::{ElectionFlags, duration},
    scrape,
};

/// Upstream's name of what runs the controllers, and of its Lease.
const COMPONENT: &str = "kube-controller-manager";

#[derive(Args)]
pub(super) struct Controllers {
    /// How the cluster is reached [default: as kubectl does, or as a pod of it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// The CA certificates that every namespace is given, in a PEM file
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    /// Where to serve /metrics and /healthz in plain HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    metrics_bind_address: Option<SocketAddr>,
    #[command(flatten)]
    election: ElectionFlags,
}

/// What the controllers can be told, also as part of a whole cluster:
/// upstream's flags.
#[derive(Args)]
pub(super) struct Settings {
    /// Which controllers run: `*` is all, `-job-controller` is without that one
    #[arg(long, default_value = "*", value_name = "LIST", allow_hyphen_values = true)]
    pub(super) controllers: String,
    /// Time between two looks at all nodes
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "DURATION", hide_short_help = true)]
    node_monitor_period: Duration,
    /// How long a node may be silent before it counts as lost
    #[arg(long, default_value = "50s", value_parser = duration, value_name = "DURATION", hide_short_help = true)]
    node_monitor_grace_period: Duration,
    /// How long a node that has never told how it is may be silent
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "DURATION", hide_short_help = true)]
    node_startup_grace_period: Duration,
    /// Lost nodes a second that pods are driven away from in a healthy zone
    #[arg(long, default_value_t = 0.1, value_name = "RATE", hide_short_help = true)]
    node_eviction_rate: f64,
    /// The same in a large zone that is not healthy
    #[arg(long, default_value_t = 0.01, value_name = "RATE", hide_short_help = true)]
    secondary_node_eviction_rate: f64,
    /// A zone with more nodes is large
    #[arg(long, default_value_t = 50, value_name = "NODES", hide_short_help = true)]
    large_cluster_size_threshold: usize,
    /// The part of a zone's nodes that are not ready (at least three), from which on it is not healthy
    #[arg(long, default_value_t = 0.55, value_name = "PART", hide_short_help = true)]
    unhealthy_zone_threshold: f64,
    /// How many pods that have ended may stay; 0: all
    #[arg(long, default_value_t = 12500, value_name = "PODS", hide_short_help = true)]
    terminated_pod_gc_threshold: i64,
}

impl Settings {
    pub(super) fn config(&self) -> Result<coracle_controllers::Config, String> {
        let mut config = coracle_controllers::Config::with_controllers(&self.controllers)
            .map_err(|error| format!("--controllers: {error}"))?;
        config.nodes = Timing {
            monitor_period: self.node_monitor_period,
            monitor_grace: self.node_monitor_grace_period,
            startup_grace: self.node_startup_grace_period,
            eviction_rate: self.node_eviction_rate,
            secondary_eviction_rate: self.secondary_node_eviction_rate,
            large_cluster_threshold: self.large_cluster_size_threshold,
            unhealthy_zone_threshold: self.unhealthy_zone_threshold,
        };
        config.pod_collection.terminated_threshold =
            usize::try_from(self.terminated_pod_gc_threshold).unwrap_or_default();
        Ok(config)
    }
}

impl Controllers {
    pub(super) fn run(self) -> Result<(), String> {
        alone::run(|shutdown| self.serve(shutdown))
    }

    async fn serve(self, shutdown: CancellationToken) -> Result<(), String> {
        let mut config = self.settings.config()?;
        if let Some(path) = &self.root_ca_file {
            let read = std::fs::read_to_string(path);
            config.root_ca = Some(read.map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let election = self.election.election(COMPONENT)?;
        let client = alone::client(self.kubeconfig.as_deref()).await?;
        let mut setup = Setup::new(client.clone(), config.clock.clone());
        coracle_controllers::start(&mut setup, &config);
        let metrics = setup.metrics.clone();
        let Some(election) = election else {
            return scrape::beside(self.metrics_bind_address, metrics, setup.run(shutdown)).await;
        };
        let events = Some(setup.recorder(COMPONENT, Style::Counted));
        let clock = config.clock.clone();
        let measured = metrics.clone();
        let leading =
            election.run(client, clock, &measured, events, shutdown, |shutdown| setup.run(shutdown));
        match scrape::beside(self.metrics_bind_address, metrics, leading).await? {
            Ended::Done => Ok(()),
            Ended::Lost => Err("leaderelection lost".to_owned()),
        }
    }
}
