//! Clusters inside this process, with no socket.

use std::time::{Duration, Instant};

use coracle::Cluster;
use coracle::cluster::StartError;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchParams};
use kube::config::Kubeconfig;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(60);

fn map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn deployment(name: &str, replicas: i32) -> Result<Deployment, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
            },
        },
    }))
}

/// As `kubectl rollout status` sees it.
fn rolled_out(replicas: i32) -> impl Condition<Deployment> {
    move |deployment: Option<&Deployment>| {
        let Some(deployment) = deployment else { return false };
        let Some(status) = &deployment.status else { return false };
        status.observed_generation == deployment.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(replicas); 3]
    }
}

async fn wait<K>(api: &Api<K>, name: &str, condition: impl Condition<K>) -> Outcome
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    match tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
        Ok(done) => Ok(done.map(|_| ())?),
        Err(_) => Err(format!("{name} did not become so: {:?}", api.get_opt(name).await?).into()),
    }
}

async fn pods(client: &Client) -> Result<Vec<Pod>, kube::Error> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    Ok(pods.list(&ListParams::default()).await?.items)
}

async fn stop(cluster: Cluster) {
    let began = Instant::now();
    cluster.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_comes_up_and_goes() -> Outcome {
    let cluster = Cluster::builder().nodes(2).start().await?;
    let client = cluster.client();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment("web", 3)?).await?;
    wait(&deployments, "web", rolled_out(3)).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes: Vec<_> =
        nodes.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(nodes.len(), 2);
    for pod in pods(&client).await? {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        assert_eq!(phase, Some("Running"), "{}", pod.name_any());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        assert!(nodes.contains(&node), "{} is on {node:?}", pod.name_any());
    }

    let image = json!({ "spec": { "replicas": 2, "template": { "spec": {
        "containers": [{ "name": "main", "image": "example:2" }],
    } } } });
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await?;
    wait(&deployments, "web", rolled_out(2)).await?;

    // With the deployment all goes that it owns.
    let of_pods: Api<Pod> = Api::default_namespaced(client.clone());
    let left: Vec<_> = pods(&client).await?.iter().map(ResourceExt::name_any).collect();
    deployments.delete("web", &DeleteParams::foreground()).await?;
    wait(&deployments, "web", |web: Option<&Deployment>| web.is_none()).await?;
    for name in left {
        wait(&of_pods, &name, |pod: Option<&Pod>| pod.is_none()).await?;
    }
    stop(cluster).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_side_by_side() -> Outcome {
    let (one, other) = tokio::try_join!(Cluster::builder().start(), Cluster::builder().start())?;
    for (cluster, name) in [(&one, "one"), (&other, "other")] {
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        deployments.create(&PostParams::default(), &deployment(name, 1)?).await?;
    }
    for (cluster, name) in [(&one, "one"), (&other, "other")] {
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        wait(&deployments, name, rolled_out(1)).await?;
        // Neither knows of the other's.
        assert_eq!(deployments.list(&ListParams::default()).await?.items.len(), 1);
        assert_eq!(pods(&cluster.client()).await?.len(), 1);
    }
    stop(one).await;
    // The end of one is not the other's.
    let maps: Api<ConfigMap> = Api::default_namespaced(other.client());
    maps.create(&PostParams::default(), &map("a")).await?;
    stop(other).await;
    Ok(())
}

/// Stopped in the middle of writes, started again: what was acknowledged is there, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() -> Outcome {
    let directory = tempfile::tempdir()?;
    let builder = Cluster::builder().data_dir(directory.path());
    let cluster = builder.clone().start().await?;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &deployment("web", 2)?).await?;
    wait(&deployments, "web", rolled_out(2)).await?;
    let before = pods(&cluster.client()).await?;

    let (report, mut acknowledged) = tokio::sync::mpsc::channel(64);
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let report = report.clone();
        writers.spawn(async move {
            for number in 0.. {
                // The store is closed under it: that write was not acknowledged.
                let Ok(made) = maps.create(&PostParams::default(), &map(&format!("{writer}-{number}"))).await
                else {
                    return;
                };
                if report.send(made.name_any()).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(report);
    let mut names = Vec::new();
    while names.len() < 100 {
        names.push(acknowledged.recv().await.ok_or("the writers ended")?);
    }
    let collect = tokio::spawn(async move {
        while let Some(name) = acknowledged.recv().await {
            names.push(name);
        }
        names
    });
    stop(cluster).await;
    writers.join_all().await;
    let names = collect.await?;

    let cluster = builder.start().await?;
    assert!(cluster.found().keys > 100);
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let kept: std::collections::HashSet<_> =
        maps.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
    let lost: Vec<_> = names.iter().filter(|name| !kept.contains(*name)).collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", names.len());
    // The same pods, on the same node.
    let uids = |pods: &[Pod]| pods.iter().map(ResourceExt::uid).collect::<Vec<_>>();
    assert_eq!(uids(&pods(&cluster.client()).await?), uids(&before));
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let more = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    deployments.patch_scale("web", &PatchParams::default(), &more).await?;
    wait(&deployments, "web", rolled_out(3)).await?;
    stop(cluster).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_can_be_left_out() -> Outcome {
    let builder = Cluster::builder().controllers("*,-deployment-controller").scheduler(false).nodes(0);
    let cluster = builder.start().await?;
    let client = cluster.client();
    assert!(cluster.address().is_none());
    // The others run: a namespace is emptied and goes.
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { name: Some("short".to_owned()), ..ObjectMeta::default() };
    namespaces.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "short");
    deployments.create(&PostParams::default(), &deployment("web", 1)?).await?;
    namespaces.delete("short", &DeleteParams::default()).await?;
    wait(&namespaces, "short", |short: Option<&Namespace>| short.is_none()).await?;
    assert!(deployments.get_opt("web").await?.is_none());
    let nodes: Api<Node> = Api::all(client);
    assert!(nodes.list(&ListParams::default()).await?.items.is_empty());
    stop(cluster).await;

    let unknown = Cluster::builder().controllers("*,-no-such-controller").start().await;
    let refused = unknown.err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|text| text.contains("no-such-controller")), "{refused:?}");
    Ok(())
}

/// What is kept is kept with its keys; nobody else may run it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_one_clusters() -> Outcome {
    let directory = tempfile::tempdir()?;
    let builder = Cluster::builder().nodes(0).relaxed_data_dir(directory.path()).listen_locally();
    let cluster = builder.clone().start().await?;
    let refused = builder.clone().start().await.err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|text| text.contains("is in use by process")), "{refused:?}");
    let authority = |cluster: &Cluster| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let config = Kubeconfig::from_yaml(&cluster.kubeconfig().ok_or("no kubeconfig")?)?;
        Ok(config.clusters.into_iter().find_map(|it| it.cluster?.certificate_authority_data))
    };
    let first = authority(&cluster)?;
    assert!(first.is_some());
    stop(cluster).await;
    let cluster = builder.start().await?;
    assert_eq!(authority(&cluster)?, first);
    stop(cluster).await;
    Ok(())
}

/// Who drops a cluster need not wait; what still has a client of it gets errors, and no answers that do not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_cluster_ends() -> Outcome {
    let directory = tempfile::tempdir()?;
    let builder = Cluster::builder().relaxed_data_dir(directory.path());
    let cluster = builder.clone().start().await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &map("kept")).await?;
    let mut watch = maps.watch(&WatchParams::default(), "0").await?.boxed();
    drop(cluster);
    tokio::time::timeout(PATIENCE, async { while watch.next().await.is_some() {} }).await?;
    let refused = tokio::time::timeout(PATIENCE, maps.create(&PostParams::default(), &map("lost"))).await?;
    assert!(refused.is_err(), "{refused:?}");
    drop(maps);
    let again = async {
        // Its last tasks may still be letting go of the store.
        loop {
            match builder.clone().start().await {
                Err(StartError::Store(_)) => tokio::task::yield_now().await,
                started => return started,
            }
        }
    };
    let cluster = tokio::time::timeout(PATIENCE, again).await??;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.get("kept").await?;
    assert!(maps.get_opt("lost").await?.is_none());
    stop(cluster).await;
    Ok(())
}

/// All that is written bears the time of the given clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_given() -> Outcome {
    let then: Timestamp = "2001-02-03T04:05:06Z".parse()?;
    let cluster = Cluster::builder().clock(move || then).start().await?;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &deployment("web", 1)?).await?;
    wait(&deployments, "web", rolled_out(1)).await?;
    for pod in pods(&cluster.client()).await? {
        assert_eq!(pod.creation_timestamp().map(|time| time.0), Some(then));
        let started = pod.status.and_then(|status| status.start_time).map(|time| time.0);
        assert_eq!(started, Some(then));
    }
    stop(cluster).await;
    Ok(())
}
