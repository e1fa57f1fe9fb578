//! What kube-rs offers, used as its users use it.
//!
//! Every scenario runs with two clients: one in the cluster's own process, with no socket between, and one made from
//! the administrator's kubeconfig, over TLS. Each has a namespace of its own.

mod dynamic;
mod errors;
mod objects;
mod patches;
mod reconciling;
mod requests;
mod selection;
mod subresources;
mod watching;

use std::collections::BTreeMap;
use std::time::Duration;

use coracle::Cluster;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

/// How a scenario ends.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A scenario, given a client and a namespace.
type Scenario = fn(Client, String) -> BoxFuture<'static, Outcome>;

/// What no scenario takes.
const PATIENCE: Duration = Duration::from_secs(30);

macro_rules! scenarios {
    ($($room:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |client, namespace| Box::pin($room::$name(client, namespace)))),*]
    };
}

const SCENARIOS: &[(&str, Scenario)] = scenarios![
    objects::life,
    objects::generated_names,
    objects::collections,
    objects::dry_run,
    objects::finalizers,
    objects::finalizer_of_a_reconciler,
    objects::preconditions,
    objects::metadata_only,
    objects::entry,
    patches::merge,
    patches::strategic,
    patches::json,
    patches::apply,
    patches::status,
    patches::scale,
    patches::restart,
    selection::labels,
    selection::fields,
    selection::pages,
    selection::revisions,
    watching::events,
    watching::reflector,
    watching::streaming_list,
    watching::metadata,
    watching::waiting,
    watching::no_revision,
    dynamic::discovery,
    dynamic::aggregated_discovery,
    dynamic::objects,
    dynamic::recorder,
    reconciling::controller,
    reconciling::metadata_watchers,
    reconciling::ways_to_watch,
    reconciling::one_object,
    reconciling::shared,
    requests::raw,
    requests::sent,
    requests::groups,
    requests::impersonation,
    subresources::scales,
    subresources::by_name,
    subresources::tokens,
    subresources::eviction,
    subresources::cordon,
    subresources::approval,
    subresources::further_containers,
    subresources::another_size,
    subresources::connections,
    errors::reasons,
    errors::causes,
    errors::conflict,
];

async fn check(client: Client, how: &str) -> Outcome {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for (name, scenario) in SCENARIOS {
        let namespace = name.replace('_', "-");
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        namespaces.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
        // In a task of its own: a panic there is told with the scenario's name.
        let outcome = tokio::time::timeout(PATIENCE, tokio::spawn(scenario(client.clone(), namespace))).await;
        match outcome {
            Ok(Ok(outcome)) => outcome.map_err(|error| format!("{how}, {name}: {error} ({error:?})"))?,
            Ok(Err(panic)) => return Err(format!("{how}, {name}: {panic}").into()),
            Err(_) => return Err(format!("{how}, {name}: no end within {PATIENCE:?}").into()),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process() -> Outcome {
    let cluster = Cluster::builder().nodes(0).start().await?;
    let outcome = check(cluster.client(), "in process").await;
    cluster.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls() -> Outcome {
    let cluster = Cluster::builder().nodes(0).listen_locally().start().await?;
    let text = cluster.kubeconfig().ok_or("it listens nowhere")?;
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text)?, &KubeConfigOptions::default()).await?;
    // An answer of 429 is asked for here, and not to be waited out.
    config.default_retry = false;
    let outcome = check(Client::try_from(config)?, "over TLS").await;
    cluster.stop().await;
    outcome
}

/// A config map with one value.
pub fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

/// A config map with a label.
pub fn labelled(name: &str, key: &str, value: &str) -> ConfigMap {
    let mut map = config_map(name, value);
    map.metadata.labels = Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    map
}

/// A pod with one container, which nobody schedules: nobody else writes it.
pub fn pod(name: &str) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "example:1" }], "schedulerName": "nobody" },
    }))
}
