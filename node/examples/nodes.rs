//! Plays simulated nodes on the cluster of your kubeconfig, until ^C.
//!
//! The first argument is how many; one without it.

use coracle_node::simulated::{Config, run};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let client = kube::Client::try_default().await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(client, Config { count, ..Config::default() }, shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await?;
    Ok(())
}
