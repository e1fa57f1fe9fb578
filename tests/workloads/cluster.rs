//! A cluster of a test, and waiting for what it does.

use std::{fmt::Debug, time::Duration};

use coracle::{Cluster, Options};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, PostParams},
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` in the namespace `default` of a cluster with two nodes.
pub async fn with<F: Future<Output = Outcome>>(test: impl FnOnce(Client) -> F) -> Outcome {
    with_options(Options { nodes: 2, ..Options::default() }, test).await
}

/// Runs `test` on a cluster that is as `options` say.
pub async fn with_options<F: Future<Output = Outcome>>(
    options: Options,
    test: impl FnOnce(Client) -> F,
) -> Outcome {
    let cluster = Cluster::start(options).await?;
    let outcome = test(cluster.client()).await;
    cluster.stop().await;
    outcome
}

/// Creates the object that `json` shows, in `default`.
pub async fn create<K>(client: &Client, json: serde_json::Value) -> Outcome<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + serde::Serialize,
{
    let api: Api<K> = Api::default_namespaced(client.clone());
    Ok(api.create(&PostParams::default(), &serde_json::from_value(json)?).await?)
}

/// Waits until the objects of `api` with the labels `labels` are as `enough`
/// says, sorted by name, and returns them.
pub async fn until_all<K>(api: &Api<K>, labels: &str, enough: impl Fn(&[K]) -> bool) -> Outcome<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let list = async || -> Outcome<Vec<K>> {
        let mut items = api.list(&ListParams::default().labels(labels)).await?.items;
        items.sort_by_key(ResourceExt::name_any);
        Ok(items)
    };
    let waiting = async {
        let changes = watcher(api.clone(), watcher::Config::default().labels(labels)).default_backoff();
        let mut changes = changes.boxed();
        while changes.try_next().await?.is_some() {
            let items = list().await?;
            if enough(&items) {
                return Ok(items);
            }
        }
        Err("the watch has ended".into())
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("these did not become so: {:#?}", list().await?).into()),
    }
}

/// Waits until the object `name` is as `enough` says, and returns it.
pub async fn until<K>(api: &Api<K>, name: &str, enough: impl Fn(&K) -> bool) -> Outcome<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let named = |items: &[K]| items.iter().find(|item| item.name_any() == name).cloned();
    let items = until_all(api, "", |items| named(items).is_some_and(|item| enough(&item))).await?;
    named(&items).ok_or_else(|| format!("{name} is gone").into())
}
