//! `coracle controllers`

use std::path::PathBuf;

use clap::Args;
use coracle_controllers::framework::{Ended, Setup, Style};
use tokio_util::sync::CancellationToken;

use super::{alone, election::ElectionFlags};

/// Upstream's name of what runs the controllers, and of its Lease.
const COMPONENT: &str = "kube-controller-manager";

#[derive(Args)]
pub(super) struct Controllers {
    /// How the cluster is reached
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// The CA certificates that every namespace is given, in a PEM file
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    #[command(flatten)]
    election: ElectionFlags,
}

/// What the controllers can be told, also as part of a whole cluster.
#[derive(Args)]
pub(super) struct Settings {
    /// Which controllers run: `*` is all, `-job-controller` is without that one
    #[arg(long, default_value = "*", value_name = "LIST", allow_hyphen_values = true)]
    pub(super) controllers: String,
}

impl Settings {
    pub(super) fn config(&self) -> Result<coracle_controllers::Config, String> {
        coracle_controllers::Config::with_controllers(&self.controllers)
            .map_err(|error| format!("--controllers: {error}"))
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
        let client = alone::client(&self.kubeconfig).await?;
        let mut setup = Setup::new(client.clone(), config.clock.clone());
        coracle_controllers::start(&mut setup, &config);
        let Some(election) = election else {
            setup.run(shutdown).await;
            return Ok(());
        };
        let events = setup.recorder(COMPONENT, Style::Counted);
        let clock = config.clock.clone();
        match election.run(client, clock, Some(events), shutdown, |shutdown| setup.run(shutdown)).await {
            Ended::Done => Ok(()),
            Ended::Lost => Err("leaderelection lost".to_owned()),
        }
    }
}
