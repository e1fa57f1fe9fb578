//! Runs the scheduler against the cluster of your kubeconfig, until ^C.

use coracle_scheduler::{Config, run};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = kube::Client::try_default().await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(client, Config::default(), shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await?;
    Ok(())
}
