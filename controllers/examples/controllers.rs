//! Runs the control loops against the cluster of your kubeconfig, until ^C.
//!
//! The first argument, if any, is a list of controllers such as `*,-job-controller`.

use coracle_controllers::{Config, run};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let list = std::env::args().nth(1).unwrap_or_else(|| "*".into());
    let client = kube::Client::try_default().await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(client, Config::with_controllers(&list)?, shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await?;
    Ok(())
}
