//! Watches, and what kube builds on them.

use std::pin::pin;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::runtime::{WatchStreamExt as _, predicates};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::{Outcome, config_map, labelled};

pub async fn events(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let before = maps.create(&PostParams::default(), &labelled("before", "seen", "1")).await?;
    let params = WatchParams::default().labels("seen=1").timeout(20);
    let mut stream = maps.watch(&params, &before.resource_version().unwrap_or_default()).await?.boxed();

    maps.create(&PostParams::default(), &labelled("a", "seen", "1")).await?;
    maps.create(&PostParams::default(), &labelled("other", "seen", "2")).await?;
    let label = |value: &str| Patch::Merge(json!({ "metadata": { "labels": { "seen": value } } }));
    // It leaves the selection, comes back, and ends.
    for value in ["2", "1"] {
        maps.patch("a", &PatchParams::default(), &label(value)).await?;
    }
    maps.delete("a", &DeleteParams::default()).await?;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match stream.try_next().await?.ok_or("the watch ended")? {
            WatchEvent::Added(map) => seen.push(format!("added {}", map.name_any())),
            WatchEvent::Modified(map) => seen.push(format!("modified {}", map.name_any())),
            WatchEvent::Deleted(map) => seen.push(format!("deleted {}", map.name_any())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(status.into()),
        }
    }
    assert_eq!(seen, ["added a", "deleted a", "added a", "deleted a"]);
    Ok(())
}

pub async fn reflector(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &labelled(name, "seen", "1")).await?;
    }
    let (store, writer) = reflector::store();
    // Pages of two: the first list takes more than one.
    let config = Config::default().labels("seen").page_size(2);
    let mut stream = pin!(
        watcher(maps.clone(), config)
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            .predicate_filter(predicates::resource_version, Default::default())
    );
    let mut applied = Vec::new();
    while applied.len() < 3 {
        applied.push(stream.try_next().await?.ok_or("the watcher ended")?.name_any());
    }
    applied.sort();
    assert_eq!(applied, ["a", "b", "c"]);

    let changed = Patch::Merge(json!({ "data": { "value": "2" } }));
    maps.patch("b", &PatchParams::default(), &changed).await?;
    assert_eq!(stream.try_next().await?.map(|map| map.name_any()).as_deref(), Some("b"));
    store.wait_until_ready().await?;
    let kept = store.get(&ObjectRef::new("b").within(&namespace)).ok_or("b is not in the store")?;
    assert_eq!(*kept, maps.get("b").await?);

    // The deletion is seen before what comes after it.
    maps.delete("a", &DeleteParams::default()).await?;
    maps.create(&PostParams::default(), &labelled("d", "seen", "1")).await?;
    assert_eq!(stream.try_next().await?.map(|map| map.name_any()).as_deref(), Some("d"));
    let mut names: Vec<_> = store.state().iter().map(|map| map.name_any()).collect();
    names.sort();
    assert_eq!(names, ["b", "c", "d"]);
    Ok(())
}

// The list comes as the watch's first events, up to a bookmark.
pub async fn streaming_list(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &labelled(name, "seen", "1")).await?;
    }
    let mut stream = pin!(watcher(maps.clone(), Config::default().labels("seen").streaming_lists()));
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("apply c") {
        let text = match stream.try_next().await?.ok_or("the watcher ended")? {
            Event::Init => "init".to_owned(),
            Event::InitApply(map) => format!("first {}", map.name_any()),
            Event::InitDone => {
                maps.create(&PostParams::default(), &labelled("c", "seen", "1")).await?;
                "done".to_owned()
            }
            Event::Apply(map) => format!("apply {}", map.name_any()),
            Event::Delete(map) => format!("delete {}", map.name_any()),
        };
        seen.push(text);
    }
    assert_eq!(seen, ["init", "first a", "first b", "done", "apply c"]);
    Ok(())
}

pub async fn metadata(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let created = maps.create(&PostParams::default(), &labelled("a", "seen", "1")).await?;
    let partial: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client, &namespace);
    let mut stream = pin!(watcher(partial, Config::default().labels("seen")).applied_objects());
    let seen = stream.try_next().await?.ok_or("the watcher ended")?;
    assert_eq!(seen.metadata, created.metadata);
    Ok(())
}

pub async fn waiting(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let has_data = |map: Option<&ConfigMap>| map.is_some_and(|map| map.data.is_some());
    let create = async {
        let created = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
        Outcome::Ok(()).map(|()| created)
    };
    let (waited, created) = tokio::join!(await_condition(maps.clone(), "a", has_data), create);
    let (waited, created) = (waited?, created?);
    assert_eq!(waited.as_ref(), Some(&created));
    let uid = created.uid().unwrap_or_default();
    let gone = await_condition(maps.clone(), "a", conditions::is_deleted(&uid));
    let params = DeleteParams::default();
    let (gone, deleted) = tokio::join!(gone, maps.delete("a", &params));
    gone?;
    deleted?;
    Ok(())
}

// What is no revision is refused before anything is watched.
pub async fn no_revision(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let refused = maps.watch(&WatchParams::default().timeout(1), "forged").await.err();
    assert!(
        matches!(&refused, Some(kube::Error::Api(status)) if status.message.contains("Invalid value")),
        "{refused:?}"
    );
    Ok(())
}
