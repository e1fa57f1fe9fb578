//! Gives the definitions to a cluster.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
    runtime::{conditions::is_crd_established, wait::Condition},
};

use crate::definitions;

const MANAGER: &str = "coracle";
/// Longest wait until a definition is served.
const PATIENCE: Duration = Duration::from_secs(10);

/// Applies the definitions, and returns when they are served.
///
/// What is there already is brought up to date; what others have added to it
/// stays.
/// # Errors
/// The API refuses them, or does not serve them within ten seconds.
pub async fn install(client: &Client) -> kube::Result<()> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    try_join_all(definitions().into_iter().map(|definition| apply(&api, definition))).await.map(drop)
}

async fn apply(
    api: &Api<CustomResourceDefinition>,
    definition: CustomResourceDefinition,
) -> kube::Result<()> {
    let name = definition.name_any();
    let applied = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(definition)).await?;
    if is_crd_established().matches_object(Some(&applied)) {
        return Ok(());
    }
    let served = until_established(api, &name, applied.resource_version().unwrap_or_default());
    tokio::time::timeout(PATIENCE, served)
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service(format!("{name} is not served").into())))
}

async fn until_established(
    api: &Api<CustomResourceDefinition>,
    name: &str,
    from: String,
) -> kube::Result<()> {
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut changes = api.watch(&only, &from).await?.boxed();
    while let Some(change) = changes.try_next().await? {
        match change {
            WatchEvent::Added(crd) | WatchEvent::Modified(crd)
                if is_crd_established().matches_object(Some(&crd)) =>
            {
                return Ok(());
            }
            WatchEvent::Error(error) => return Err(kube::Error::Api(error)),
            _ => {}
        }
    }
    Err(kube::Error::Service(format!("the watch of {name} has ended").into()))
}
