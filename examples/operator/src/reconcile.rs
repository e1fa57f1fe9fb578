//! What is done for one site.

use std::{fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
        finalizer,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    Site, SiteStatus,
    children::{self, Children, REGISTRY},
};

/// What keeps a site until its entry is gone.
pub const FINALIZER: &str = "example.com/site-entry";

const NAME: &str = "site-operator";
const RETRY: Duration = Duration::from_secs(5);

/// Why a site could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused something.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The finalizer could not be put on or taken off, or what it is for failed.
    #[error(transparent)]
    Finalizer(#[from] Box<finalizer::Error<Error>>),
    /// What the site needs is no object.
    #[error(transparent)]
    Child(#[from] serde_json::Error),
}

/// What all reconciliations share.
pub struct Context {
    client: Client,
    recorder: Recorder,
}

impl Context {
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: NAME.to_owned(), instance: None };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }
}

/// Brings what there is for `site` to what it needs.
pub async fn reconcile(site: Arc<Site>, context: Arc<Context>) -> Result<Action, Error> {
    let sites: Api<Site> = Api::namespaced(context.client.clone(), &site.namespace().unwrap_or_default());
    let done = finalizer::finalizer(&sites, FINALIZER, site, |event| async {
        match event {
            finalizer::Event::Apply(site) => apply(&sites, &site, &context).await,
            finalizer::Event::Cleanup(site) => clean_up(&site, &context).await,
        }
    });
    Ok(done.await.map_err(Box::new)?)
}

/// What happens after an error.
pub fn try_again(_: Arc<Site>, _: &Error, _: Arc<Context>) -> Action {
    Action::requeue(RETRY)
}

async fn apply(sites: &Api<Site>, site: &Site, context: &Context) -> Result<Action, Error> {
    let children = Children::of(site)?;
    enter(site, context, true).await?;
    applied(context, &children.page).await?;
    applied(context, &children.service).await?;
    let servers = applied(context, &children.servers).await?;
    let status = status(site, &servers, Timestamp::now());
    if site.status.as_ref() != Some(&status) {
        let patch = Patch::Merge(json!({ "status": status }));
        sites.patch_status(&site.name_any(), &PatchParams::default(), &patch).await?;
        if is_ready(&status.conditions) && !site.status.as_ref().is_some_and(|it| is_ready(&it.conditions)) {
            let event = Event {
                type_: EventType::Normal,
                reason: "Ready".to_owned(),
                note: Some(format!("{} servers show it", status.replicas)),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            context.recorder.publish(&event, &site.object_ref(&())).await?;
        }
    }
    // Whatever changes of it or of its children comes as an event.
    Ok(Action::await_change())
}

// The children go because they are owned; the entry is ours to take away.
async fn clean_up(site: &Site, context: &Context) -> Result<Action, Error> {
    enter(site, context, false).await?;
    Ok(Action::await_change())
}

// Each site is a manager of its own in the registry: what it does not apply any more goes, and nobody else's does.
async fn enter(site: &Site, context: &Context, present: bool) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &site.namespace().unwrap_or_default());
    let manager = format!("{NAME}/{}", site.name_any());
    let entry = Patch::Apply(children::entry(site, present));
    maps.patch(REGISTRY, &PatchParams::apply(&manager), &entry).await.map(drop)
}

async fn applied<K>(context: &Context, child: &K) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> =
        Api::namespaced(context.client.clone(), child.meta().namespace.as_deref().unwrap_or_default());
    api.patch(&child.name_any(), &PatchParams::apply(NAME).force(), &Patch::Apply(child)).await
}

fn status(site: &Site, servers: &Deployment, now: Timestamp) -> SiteStatus {
    let seen = servers.status.as_ref();
    let current = seen.and_then(|status| status.observed_generation) == servers.metadata.generation;
    let count =
        |of: fn(&k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<i32>| seen.and_then(of).unwrap_or(0);
    let (updated, available) = (count(|it| it.updated_replicas), count(|it| it.available_replicas));
    let wanted = site.spec.replicas;
    let ready = current && updated == wanted && available == wanted;
    let (text, reason) = if ready { ("True", "AllServersShowIt") } else { ("False", "ServersAreStarting") };
    let before = site.status.iter().flat_map(|status| &status.conditions).find(|it| it.type_ == "Ready");
    let since = before.filter(|it| it.status == text).map(|it| it.last_transition_time.clone());
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: text.to_owned(),
        reason: reason.to_owned(),
        message: format!("{available} of {wanted} servers show it"),
        observed_generation: site.metadata.generation,
        // Whole seconds, as it comes back.
        last_transition_time: since.unwrap_or(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
    };
    SiteStatus {
        observed_generation: site.metadata.generation,
        replicas: available,
        conditions: vec![condition],
    }
}

fn is_ready(conditions: &[Condition]) -> bool {
    conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
}
