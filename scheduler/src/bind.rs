//! Binds a placed pod, while the next cycles go on.

use std::sync::Arc;

use coracle_controllers::framework::Error;
use kube::Client;
use tokio::sync::Semaphore;

use crate::{
    extender::Extender,
    plugin::{Permit, Plugin, Rejection},
    pod::PodInfo,
};

/// Why a placed pod was not bound.
pub(crate) enum Unbound {
    /// A rule does not permit it.
    Rejected(&'static str, Rejection),
    /// The API refused, or did not answer.
    Failed(Error),
}

/// Waits for permission, then binds `pod` to `node` when there is room among
/// `requests`.
pub(crate) async fn bind(
    plugins: &[Arc<dyn Plugin>],
    extenders: &[Extender],
    client: &Client,
    requests: &Semaphore,
    pod: &PodInfo,
    node: &str,
) -> Result<(), Unbound> {
    for plugin in plugins {
        let permit =
            plugin.permit(pod, node).map_err(|rejection| Unbound::Rejected(plugin.name(), rejection))?;
        if let Permit::Wait { until, limit } = permit {
            let decided = match tokio::time::timeout(limit, until).await {
                Ok(Ok(decided)) => decided,
                Ok(Err(_)) | Err(_) => Err(Rejection::resolvable(format!(
                    "rejected due to timeout after waiting {limit:?} at plugin {}",
                    plugin.name()
                ))),
            };
            decided.map_err(|rejection| Unbound::Rejected(plugin.name(), rejection))?;
        }
    }
    for plugin in plugins {
        if let Some(work) = plugin.pre_bind(client, pod, node) {
            work.await.map_err(|error| match error {
                gone if gone.is_not_found() => Unbound::Failed(gone),
                error => Unbound::Failed(Error::Incomplete(format!(
                    "running PreBind plugin \"{}\": {error}",
                    plugin.name()
                ))),
            })?;
        }
    }
    let _room = requests.acquire().await;
    for extender in extenders {
        if let Some(bound) = extender.bind(pod, node).await {
            return bound
                .map_err(|error| Unbound::Failed(Error::Incomplete(format!("binding rejected: {error}"))));
        }
    }
    for plugin in plugins {
        if let Some(binding) = plugin.bind(client, pod, node) {
            return binding.await.map_err(|error| match error {
                gone if gone.is_not_found() => Unbound::Failed(gone),
                error => Unbound::Failed(Error::Incomplete(format!(
                    "binding rejected: running Bind plugin \"{}\": {error}",
                    plugin.name()
                ))),
            });
        }
    }
    Err(Unbound::Failed(Error::Invalid("no plugin binds pods".into())))
}
