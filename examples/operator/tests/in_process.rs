//! The operator against whole clusters in this process: API server, controllers, scheduler, a simulated node.

use std::time::Duration;

use coracle::Cluster;
use futures::future::try_join_all;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Event, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{
        conditions,
        wait::{Condition, await_condition},
    },
};
use serde_json::json;
use site_operator::{FINALIZER, REGISTRY, Site, SiteSpec};
use tokio::{sync::oneshot, task::JoinHandle};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with the operator at work in it.
struct World {
    cluster: Cluster,
    client: Client,
    stop: oneshot::Sender<()>,
    operator: JoinHandle<()>,
}

impl World {
    async fn start() -> Outcome<Self> {
        let cluster = Cluster::builder().start().await?;
        let client = cluster.client();
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        definitions.create(&PostParams::default(), &Site::crd()).await?;
        await_condition(definitions, Site::crd_name(), conditions::is_crd_established()).await?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let operator = tokio::spawn(site_operator::run(client.clone(), shutdown));
        Ok(Self { cluster, client, stop, operator })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::default_namespaced(self.client.clone())
    }

    async fn site(&self, name: &str, page: &str, replicas: i32) -> Outcome<Site> {
        let site = Site::new(name, SiteSpec { page: page.to_owned(), replicas });
        Ok(self.api().create(&PostParams::default(), &site).await?)
    }

    async fn until<K>(&self, name: &str, condition: impl Condition<K>) -> Outcome
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Send
            + serde::de::DeserializeOwned
            + 'static,
    {
        match tokio::time::timeout(PATIENCE, await_condition(self.api::<K>(), name, condition)).await {
            Ok(done) => Ok(done.map(drop)?),
            Err(_) => {
                Err(format!("{name} did not become so: {:?}", self.api::<K>().get_opt(name).await?).into())
            }
        }
    }

    async fn stop(self) -> Outcome {
        let _ = self.stop.send(());
        self.operator.await?;
        self.cluster.stop().await;
        Ok(())
    }
}

/// Ready, and that is about the site as it is now.
fn ready(replicas: i32) -> impl Condition<Site> {
    move |site: Option<&Site>| {
        let Some((site, status)) = site.and_then(|site| Some((site, site.status.as_ref()?))) else {
            return false;
        };
        status.observed_generation == site.metadata.generation
            && status.replicas == replicas
            && status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_comes_up_changes_and_goes() -> Outcome {
    let world = World::start().await?;
    world.site("home", "<h1>Hello</h1>", 2).await?;
    world.until("home", ready(2)).await?;
    assert_eq!(world.api::<Site>().get("home").await?.finalizers(), [FINALIZER]);
    assert_eq!(
        world.api::<Service>().get("home").await?.metadata.owner_references.map(|it| it.len()),
        Some(1)
    );

    // By its scale, as `kubectl scale` and autoscalers do.
    let more = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    world.api::<Site>().patch_scale("home", &PatchParams::default(), &more).await?;
    world.until("home", ready(3)).await?;
    let page = Patch::Merge(json!({ "spec": { "page": "<h1>Good-bye</h1>" } }));
    world.api::<Site>().patch("home", &PatchParams::default(), &page).await?;
    let shown = |map: Option<&ConfigMap>| {
        let page = map.and_then(|map| map.data.as_ref()?.get("index.html"));
        page.is_some_and(|page| page.contains("Good-bye"))
    };
    world.until("home", shown).await?;
    world.until("home", ready(3)).await?;
    // What somebody else changes is put right.
    world.api::<Service>().delete("home", &DeleteParams::default()).await?;
    world.until("home", |service: Option<&Service>| service.is_some()).await?;

    let of_site = ListParams::default().fields("involvedObject.kind=Site");
    let events = world.api::<Event>().list(&of_site).await?;
    assert!(events.iter().any(|event| event.reason.as_deref() == Some("Ready")), "{events:?}");

    world.api::<Site>().delete("home", &DeleteParams::default()).await?;
    world.until("home", |site: Option<&Site>| site.is_none()).await?;
    // The garbage collector takes what it owned.
    world.until("home", |servers: Option<&Deployment>| servers.is_none()).await?;
    world.until("home", |page: Option<&ConfigMap>| page.is_none()).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entry_of_a_site_is_its_own() -> Outcome {
    let world = World::start().await?;
    world.site("one", "1", 1).await?;
    world.site("two", "2", 0).await?;
    let has = |names: &'static [&'static str]| {
        move |map: Option<&ConfigMap>| {
            let data = map.and_then(|map| map.data.clone()).unwrap_or_default();
            data.keys().eq(names)
        }
    };
    world.until(REGISTRY, has(&["one", "two"])).await?;
    world.api::<Site>().delete("one", &DeleteParams::default()).await?;
    world.until("one", |site: Option<&Site>| site.is_none()).await?;
    world.until(REGISTRY, has(&["two"])).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_site_can_be_is_refused() -> Outcome {
    let world = World::start().await?;
    for (page, replicas, expected) in
        [("", 1, "spec.page"), ("x", 21, "spec.replicas"), ("x", -1, "spec.replicas")]
    {
        let refused = world.site("bad", page, replicas).await.err().map(|error| error.to_string());
        assert!(
            refused.as_ref().is_some_and(|text| text.contains(expected)),
            "{page:?} {replicas}: {refused:?}"
        );
    }
    // The operator is at work: one that is stopped before it has seen the sites does not end.
    world.site("good", "x", 0).await?;
    world.until("good", ready(0)).await?;
    world.stop().await
}

/// A cluster is a value: each test, or each case of one, can have its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clusters_side_by_side() -> Outcome {
    const CLUSTERS: usize = 20;
    let worlds = try_join_all((0..CLUSTERS).map(|_| World::start())).await?;
    try_join_all(worlds.iter().enumerate().map(|(number, world)| async move {
        let name = format!("site-{number}");
        world.site(&name, "x", 1).await?;
        world.until(&name, ready(1)).await?;
        // Nobody sees another's.
        let sites = world.api::<Site>().list(&ListParams::default()).await?;
        assert_eq!(sites.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [name]);
        Outcome::Ok(())
    }))
    .await?;
    for world in worlds {
        world.stop().await?;
    }
    Ok(())
}
