//! Objects and definitions go: with their owners, their namespaces and their CRDs. And they come again with the store.

use std::time::Duration;

use coracle::{Cluster, Options};
use coracle_store::Mode;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::json;

use crate::{
    Outcome,
    boats::{Boat, boat, boats, launch},
    with,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn with_the_definition_go_its_instances_and_watches() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        launch(&boats, "a", "kiel").await?;
        let hold = Patch::Merge(json!({ "metadata": { "finalizers": ["example.com/hold"] } }));
        let held = boats.patch("a", &PatchParams::default(), &hold).await?;
        let version = held.resource_version().unwrap_or_default();
        let mut events = boats.watch(&WatchParams::default(), &version).await?.boxed();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        let uid = crds.get(Boat::crd_name()).await?.uid().unwrap_or_default();
        crds.delete(Boat::crd_name(), &DeleteParams::default()).await?;
        let refused = boats.create(&PostParams::default(), &boat("b", "kiel")).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
        // It waits for what is held.
        let begun = await_condition(boats.clone(), "a", |it: Option<&Boat>| {
            it.is_some_and(|it| it.metadata.deletion_timestamp.is_some())
        });
        tokio::time::timeout(PATIENCE, begun).await??;
        assert!(crds.get_opt(Boat::crd_name()).await?.is_some());
        let let_go = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        boats.patch("a", &PatchParams::default(), &let_go).await?;
        let gone = await_condition(crds.clone(), Boat::crd_name(), conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await??;
        // The watch tells what it saw, and ends.
        let drain = async {
            while events.try_next().await?.is_some() {}
            Ok::<_, kube::Error>(())
        };
        let _ = tokio::time::timeout(PATIENCE, drain).await?;
        let missing = boats.list(&ListParams::default()).await;
        assert!(matches!(missing, Err(kube::Error::Api(status)) if status.code == 404));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_the_owner_go_its_dependents() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        let owner = launch(&boats, "owner", "kiel").await?;
        let reference = owner.owner_ref(&()).ok_or("no reference")?;
        let mut dependent = boat("dependent", "kiel");
        dependent.metadata.owner_references = Some(vec![reference.clone()]);
        let dependent = boats.create(&PostParams::default(), &dependent).await?;
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let mut map = ConfigMap::default();
        map.metadata.name = Some("log".to_owned());
        map.metadata.owner_references = Some(vec![reference]);
        let map = maps.create(&PostParams::default(), &map).await?;
        boats.delete("owner", &DeleteParams::background()).await?;
        let uid = |it: Option<String>| it.unwrap_or_default();
        let (boat_gone, map_gone) = (uid(dependent.uid()), uid(map.uid()));
        let boat_gone = await_condition(boats, "dependent", conditions::is_deleted(&boat_gone));
        let map_gone = await_condition(maps, "log", conditions::is_deleted(&map_gone));
        let (a, b) = tokio::time::timeout(PATIENCE, futures::future::join(boat_gone, map_gone)).await?;
        a?;
        b?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_the_namespace_go_its_objects() -> Outcome {
    with(async |client| {
        boats(&client).await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("harbour".to_owned());
        let made = namespaces.create(&PostParams::default(), &namespace).await?;
        let there: Api<Boat> = Api::namespaced(client.clone(), "harbour");
        launch(&there, "a", "kiel").await?;
        namespaces.delete("harbour", &DeleteParams::default()).await?;
        let uid = made.uid().unwrap_or_default();
        let gone = await_condition(namespaces, "harbour", conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await??;
        let left: Api<Boat> = Api::all(client);
        assert!(left.list(&ListParams::default()).await?.items.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_was_stored_is_served_again() -> Outcome {
    let directory = tempfile::tempdir()?;
    let options =
        || Options { nodes: 0, store: Mode::Durable(directory.path().to_path_buf()), ..Options::default() };
    let cluster = Cluster::start(options()).await?;
    let outcome = async { launch(&boats(&cluster.client()).await?, "a", "kiel").await }.await;
    cluster.stop().await;
    outcome?;
    let cluster = Cluster::start(options()).await?;
    let found = Api::<Boat>::default_namespaced(cluster.client()).get("a").await;
    cluster.stop().await;
    assert_eq!(found?.spec.port, "kiel");
    Ok(())
}
