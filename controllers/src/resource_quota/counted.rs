//! Kinds of which only the number counts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coracle_api::quota::Evaluator;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, ReplicationController, ResourceQuota, Secret},
};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Freed;
use crate::framework::{Error, Reflected, Setup, discover};

/// How long what the API serves is believed.
const BELIEVED: Duration = Duration::from_secs(30);

/// A kind whose objects are followed here.
pub(super) struct Counted {
    pub(super) evaluator: Evaluator,
    count: Box<dyn Fn(&str) -> usize + Send + Sync>,
}

impl Counted {
    /// How many there are in a namespace.
    pub(super) fn count(&self, namespace: &str) -> usize {
        (self.count)(namespace)
    }
}

/// The kinds that are followed here: those that upstream counts by a name of
/// their own, and those that other controllers follow anyway.
pub(super) fn all(setup: &mut Setup, freed: &Freed) -> Vec<Counted> {
    [
        counted::<ConfigMap>,
        counted::<Secret>,
        counted::<ReplicationController>,
        counted::<ResourceQuota>,
        counted::<ReplicaSet>,
        counted::<Deployment>,
        counted::<StatefulSet>,
        counted::<DaemonSet>,
        counted::<Job>,
        counted::<CronJob>,
    ]
    .into_iter()
    .filter_map(|follow| follow(setup, freed))
    .collect()
}

fn counted<K: Reflected + Resource<DynamicType = ()>>(setup: &mut Setup, freed: &Freed) -> Option<Counted> {
    let evaluator = Evaluator::of(&K::group(&()), &K::plural(&()))?;
    let store = freed.follow::<K>(setup, evaluator.clone(), |_, _| false);
    Some(Counted { evaluator, count: Box::new(move |namespace| store.in_namespace(namespace).len()) })
}

type Kinds = Arc<HashMap<String, ApiResource>>;

/// All other kinds, which the API is asked about.
pub(super) struct Elsewhere {
    client: Client,
    served: Mutex<Option<(Instant, Kinds)>>,
}

impl Elsewhere {
    pub(super) fn new(client: Client) -> Self {
        Self { client, served: Mutex::default() }
    }

    /// How many objects there are in the namespace of what a quota calls
    /// `name`; nothing when that counts no kind that is served.
    /// # Errors
    /// The API refused or did not answer.
    pub(super) async fn count(&self, name: &str, namespace: &str) -> Result<Option<usize>, Error> {
        if !name.starts_with("count/") {
            return Ok(None);
        }
        let Some(resource) = self.served().await?.get(name).cloned() else { return Ok(None) };
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        // One of them, and how many more there are.
        let page = api.list_metadata(&ListParams::default().limit(1)).await?;
        let more = page.metadata.remaining_item_count.unwrap_or(0);
        Ok(Some(page.items.len() + usize::try_from(more).unwrap_or(0)))
    }

    async fn served(&self) -> Result<Arc<HashMap<String, ApiResource>>, Error> {
        let known = self.served.lock().clone();
        if let Some((at, served)) = known
            && at.elapsed() < BELIEVED
        {
            return Ok(served);
        }
        let found = discover(&self.client).await?;
        let found = found.into_iter().filter(|it| it.namespaced && it.supports(&["list", "create"]));
        let named = found.filter_map(|it| match Evaluator::of(&it.resource.group, &it.resource.plural)? {
            Evaluator::Count(names) => Some((names.into_iter().next()?, it.resource)),
            _ => None,
        });
        let served = Arc::new(named.collect::<HashMap<_, _>>());
        *self.served.lock() = Some((Instant::now(), served.clone()));
        Ok(served)
    }
}
