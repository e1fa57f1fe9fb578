//! `coracle nodes`

use std::path::PathBuf;

use clap::Args;
use coracle_node::simulated::{self, Config};
use tokio_util::sync::CancellationToken;

use super::alone;

#[derive(Args)]
pub(super) struct Nodes {
    /// How the cluster is reached [default: as kubectl does, or as a pod of it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How many there are
    #[arg(long, default_value_t = 1, value_name = "N")]
    nodes: usize,
    /// Their names are this, a dash and a number; those of another name are left alone
    #[arg(long, default_value = "node", value_name = "NAME")]
    prefix: String,
}

impl Nodes {
    pub(super) fn run(self) -> Result<(), String> {
        alone::run(|shutdown| self.serve(shutdown))
    }

    async fn serve(self, shutdown: CancellationToken) -> Result<(), String> {
        let client = alone::client(self.kubeconfig.as_deref()).await?;
        let config = Config { count: self.nodes, prefix: self.prefix, ..Config::default() };
        simulated::run(client, config, shutdown).await;
        Ok(())
    }
}
