//! An operator for [`Site`]s: a page, and so many web servers that show it.
//!
//! For each site there are a ConfigMap, a Deployment and a Service, applied server-side and owned by it, so that the
//! garbage collector takes them away with it. Its status tells how far it is. In the ConfigMap `sites` of its namespace
//! it has an entry, which no owner takes away: for that the operator holds a finalizer.
//!
//! Start at [`run`]; what is done for one site is [`reconcile`], what it needs is [`children`]. How all of it is tested,
//! in one process and with no cluster to set up, is in `tests/in_process.rs`.

mod children;
mod reconcile;
mod site;

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api, Client,
    runtime::{Controller, reflector::ObjectRef, watcher},
};

pub use children::REGISTRY;
pub use reconcile::FINALIZER;
pub use site::{Site, SiteSpec, SiteStatus};

/// Looks after the sites of all namespaces until `shutdown`, and ends what it is at.
pub async fn run(client: Client, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let everywhere = watcher::Config::default;
    let shutdown = shutdown.shared();
    Controller::new(Api::<Site>::all(client.clone()), everywhere())
        .owns(Api::<Deployment>::all(client.clone()), everywhere())
        .owns(Api::<Service>::all(client.clone()), everywhere())
        .owns(Api::<ConfigMap>::all(client.clone()), everywhere())
        .graceful_shutdown_on(shutdown)
        .run(reconcile::reconcile, reconcile::try_again, Arc::new(reconcile::Context::new(client)))
        .for_each(|outcome| async move {
            match outcome {
                Ok((site, _)) => tracing::debug!(site = %named(&site), "looked after"),
                Err(error) => tracing::warn!(%error, "a site could not be looked after"),
            }
        })
        .await;
}

fn named(site: &ObjectRef<Site>) -> String {
    format!("{}/{}", site.namespace.as_deref().unwrap_or_default(), site.name)
}
