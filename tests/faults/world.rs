//! One run: workloads are made and changed while things go wrong.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use coracle::Cluster;
use coracle_controllers::framework::{Clock, Setup};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Pod},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::layer::{Faults, Faulty};
use crate::watcher::{self as pods, ROOM};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Long enough for a machine that has other things to do: who waits for a time that never comes waits longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the world of `seed`. Gives how often something went wrong in it.
pub async fn run(seed: u64) -> Outcome<usize> {
    let cluster = Cluster::builder().api_server_only().start().await?;
    let faults = Faults::new(seed);
    let quiet = CancellationToken::new();
    let seen = pods::start(cluster.client(), quiet.clone());
    let outcome = play(&cluster, &faults).await;
    quiet.cancel();
    let wrong = seen.await?;
    cluster.stop().await;
    outcome?;
    if wrong.is_empty() { Ok(faults.met()) } else { Err(wrong.join("; ").into()) }
}

async fn play(cluster: &Cluster, faults: &Arc<Faults>) -> Outcome {
    let client = cluster.client();
    let mut loops = Loops::start(cluster, faults);
    let outcome = async {
        make(&client).await?;
        let pause = || tokio::time::sleep(Duration::from_millis(faults.below(150)));
        pause().await;
        change::<Deployment>(&client, "web", json!({ "spec": { "replicas": 5 } })).await?;
        pause().await;
        change::<StatefulSet>(&client, "db", json!({ "spec": { "replicas": 1 } })).await?;
        loops = std::mem::replace(&mut loops, Loops::none()).again(cluster, faults).await;
        change::<Deployment>(&client, "web", image("example:2")).await?;
        pause().await;
        change::<StatefulSet>(&client, "db", image("example:2")).await?;
        change::<DaemonSet>(&client, "log", image("example:2")).await?;
        loops = std::mem::replace(&mut loops, Loops::none()).again(cluster, faults).await;
        pause().await;
        faults.stop();
        converged(&client).await
    }
    .await;
    loops.stop().await;
    outcome
}

/// Controllers, scheduler and nodes behind the faults.
struct Loops {
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Loops {
    fn none() -> Self {
        Self { shutdown: CancellationToken::new(), task: None }
    }

    fn start(cluster: &Cluster, faults: &Arc<Faults>) -> Self {
        let service = Faulty { inner: cluster.service(), faults: faults.clone() };
        let mut setup = Setup::new(Client::new(service, "default"), Clock::system());
        // Pods wait for the root certificate.
        let root_ca = Some("a certificate".to_owned());
        coracle_controllers::start(
            &mut setup,
            &coracle_controllers::Config { root_ca, ..Default::default() },
        );
        coracle_scheduler::start(&mut setup, coracle_scheduler::Config::default());
        let capacity = coracle_node::simulated::Capacity { cpu: ROOM.to_string(), ..Default::default() };
        let nodes = coracle_node::simulated::Config { count: 2, capacity, ..Default::default() };
        coracle_node::simulated::start(&mut setup, nodes);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(setup.run(shutdown.clone()));
        Self { shutdown, task: Some(task) }
    }

    async fn again(self, cluster: &Cluster, faults: &Arc<Faults>) -> Self {
        self.stop().await;
        Self::start(cluster, faults)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        if let Some(task) = self.task {
            let _ended = task.await;
        }
    }
}

fn template(app: &str, image: &str, cpu: &str) -> Value {
    let resources = json!({ "requests": { "cpu": cpu } });
    let labels = if cpu == "1" { json!({ "app": app, "sized": "1" }) } else { json!({ "app": app }) };
    json!({
        "metadata": { "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": image, "resources": resources }],
        },
    })
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

async fn make(client: &Client) -> Outcome {
    let selector = |app: &str| json!({ "matchLabels": { "app": app } });
    let spec = |app: &str, more: Value, cpu: &str| {
        let mut spec = json!({ "selector": selector(app), "template": template(app, "example:1", cpu) });
        if let (Some(all), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        json!({ "metadata": { "name": app }, "spec": spec })
    };
    create::<ConfigMap>(client, json!({ "metadata": { "name": "bystander" } })).await?;
    create::<Pod>(
        client,
        json!({ "metadata": { "name": "bystander" }, "spec": {
        "containers": [{ "name": "main", "image": "example:1" }] } }),
    )
    .await?;
    create::<Deployment>(client, spec("web", json!({ "replicas": 3 }), "1")).await?;
    create::<StatefulSet>(client, spec("db", json!({ "replicas": 2, "serviceName": "db" }), "1")).await?;
    create::<DaemonSet>(client, spec("log", json!({}), "1m")).await?;
    let mut job = template("sum", "busybox:1", "1m");
    job["spec"]["restartPolicy"] = "Never".into();
    job["spec"]["containers"][0]["command"] = json!(["true"]);
    let job = json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 2, "template": job });
    create::<Job>(client, json!({ "metadata": { "name": "sum" }, "spec": job })).await
}

trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static
{
}

async fn create<K: Namespaced>(client: &Client, json: Value) -> Outcome {
    let api: Api<K> = Api::default_namespaced(client.clone());
    // Its account may still be on its way.
    let mut left = 100;
    loop {
        match api.create(&PostParams::default(), &serde_json::from_value(json.clone())?).await {
            Err(kube::Error::Api(status)) if status.code == 403 && left > 0 => left -= 1,
            done => return Ok(done.map(drop)?),
        }
    }
}

async fn change<K: Namespaced>(client: &Client, name: &str, patch: Value) -> Outcome {
    let api: Api<K> = Api::default_namespaced(client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// The pods of web, db and log at the end.
const WANTED: [usize; 3] = [5, 1, 2];

async fn alive(pods: &Api<Pod>) -> Outcome<[usize; 3]> {
    let all = pods.list(&ListParams::default()).await?.items;
    Ok(["web", "db", "log"].map(|app| {
        let of = all.iter().filter(|pod| pod.labels().get("app").is_some_and(|it| it == app));
        of.filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    }))
}

async fn converged(client: &Client) -> Outcome {
    until::<Deployment>(client, "web", |it| {
        let Some(status) = &it.status else { return false };
        status.observed_generation == it.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(5); 3]
    })
    .await?;
    until::<StatefulSet>(client, "db", |it| {
        let Some(status) = &it.status else { return false };
        status.observed_generation == it.metadata.generation
            && (status.replicas, status.ready_replicas) == (1, Some(1))
            && status.current_revision == status.update_revision
    })
    .await?;
    until::<DaemonSet>(client, "log", |it| {
        let Some(status) = &it.status else { return false };
        status.observed_generation == it.metadata.generation
            && (status.number_available, status.updated_number_scheduled) == (Some(2), Some(2))
    })
    .await?;
    until::<Job>(client, "sum", |it| {
        let Some(status) = &it.status else { return false };
        let complete =
            status.conditions.iter().flatten().any(|it| it.type_ == "Complete" && it.status == "True");
        complete && status.completed_indexes.as_deref() == Some("0-2") && status.succeeded == Some(3)
    })
    .await?;
    // One whose creation nobody learned of may still be on its way out.
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let counted = async {
        let mut changes = watcher(pods.clone(), watcher::Config::default()).default_backoff().boxed();
        while changes.try_next().await?.is_some() {
            if alive(&pods).await? == WANTED {
                return Outcome::Ok(());
            }
        }
        Err("the watch has ended".into())
    };
    if tokio::time::timeout(PATIENCE, counted).await.is_err() {
        return Err(format!("{:?} pods of web, db and log", alive(&pods).await?).into());
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.get("bystander").await?;
    pods.get("bystander").await?;
    Ok(())
}

async fn until<K: Namespaced>(client: &Client, name: &str, enough: impl Fn(&K) -> bool) -> Outcome {
    let api: Api<K> = Api::default_namespaced(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let waiting = async {
        let mut changes = watcher(api.clone(), config).default_backoff().applied_objects().boxed();
        while let Some(object) = changes.try_next().await? {
            if enough(&object) {
                return Ok(());
            }
        }
        Err("the watch has ended".into())
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("{name} did not come right: {:?}", api.get(name).await?).into()),
    }
}
