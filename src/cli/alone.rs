//! What commands share that run one part against a cluster that is elsewhere.

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Does `work` until it ends, or is told by a signal to end.
pub(super) fn run<F>(work: impl FnOnce(CancellationToken) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let done = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let shutdown = CancellationToken::new();
        let work = work(shutdown.clone());
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("stopping");
        shutdown.cancel();
        work.await
    });
    runtime.shutdown_background();
    done
}

/// A client of the cluster that the kubeconfig `file` leads to; without one,
/// that of the environment or of the pod that this is.
pub(super) async fn client(file: Option<&Path>) -> Result<Client, String> {
    let mut config = match file {
        Some(file) => from_file(file).await.map_err(|error| format!("{}: {error}", file.display()))?,
        None => Config::infer().await.map_err(|error| error.to_string())?,
    };
    // Watches are quiet for longer than the client would wait.
    config.read_timeout = None;
    Client::try_from(config).map_err(|error| error.to_string())
}

async fn from_file(file: &Path) -> Result<Config, KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(file)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}
