//! `coracle scheduler`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use coracle_controllers::framework::{Clock, Ended, Setup, Style};
use coracle_scheduler::{Config, Configuration, explain_pod};
use tokio_util::sync::CancellationToken;

use super::{alone, election::ElectionFlags, scrape};

/// Upstream's name of the scheduler, and of its Lease.
const COMPONENT: &str = "kube-scheduler";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Scheduler {
    #[command(subcommand)]
    ask: Option<Ask>,
    /// How the cluster is reached [default: as kubectl does, or as a pod of it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve /metrics and /healthz in plain HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    metrics_bind_address: Option<SocketAddr>,
    #[command(flatten)]
    election: ElectionFlags,
}

#[derive(Subcommand)]
enum Ask {
    /// Say for each node which plugin refuses a pod and why, or how it scores
    Explain(Explain),
}

#[derive(Args)]
struct Explain {
    /// The name of the pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Its namespace
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// How the cluster is reached [default: as kubectl does, or as a pod of it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Scheduler {
    pub(super) fn run(self) -> Result<(), String> {
        match self.ask {
            Some(Ask::Explain(it)) => alone::run(|_| it.answer()),
            None => alone::run(|shutdown| self.serve(shutdown)),
        }
    }

    async fn serve(self, shutdown: CancellationToken) -> Result<(), String> {
        let election = self.election.election(COMPONENT)?;
        let client = alone::client(self.kubeconfig.as_deref()).await?;
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let configuration = match &self.config {
            Some(path) => read(path).map_err(|error| format!("{}: {error}", path.display()))?,
            None => Configuration::default(),
        };
        let config = Config { host, configuration, ..Config::default() };
        let clock: Clock = config.clock.clone();
        let mut setup = Setup::new(client.clone(), clock.clone());
        coracle_scheduler::start(&mut setup, config);
        let metrics = setup.metrics.clone();
        let Some(election) = election else {
            return scrape::beside(self.metrics_bind_address, metrics, setup.run(shutdown)).await;
        };
        let events = Some(setup.recorder(COMPONENT, Style::Counted));
        let measured = metrics.clone();
        let leading =
            election.run(client, clock, &measured, events, shutdown, |shutdown| setup.run(shutdown));
        match scrape::beside(self.metrics_bind_address, metrics, leading).await? {
            Ended::Done => Ok(()),
            Ended::Lost => Err("leaderelection lost".to_owned()),
        }
    }
}

impl Explain {
    async fn answer(self) -> Result<(), String> {
        let client = alone::client(self.kubeconfig.as_deref()).await?;
        let explanation = explain_pod(&client, &self.namespace, &self.pod).await;
        print!("{}", explanation.map_err(|error| error.to_string())?.text());
        Ok(())
    }
}

fn read(path: &Path) -> Result<Configuration, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let tree = serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?;
    Configuration::parse(tree).map_err(|error| error.to_string())
}
