//! The loops of kube's runtime.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt, future};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{
    DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Event, ListSemantic};
use kube::runtime::{Controller, WatchStreamExt, predicates};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::oneshot;

use crate::{Outcome, config_map, labelled};

// For each map a secret with as many entries, kept so.
pub async fn controller(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let reconcile = |map: Arc<ConfigMap>, secrets: Arc<Api<Secret>>| async move {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": map.name_any(), "ownerReferences": [map.controller_owner_ref(&())] },
            "stringData": { "entries": map.data.as_ref().map_or(0, |data| data.len()).to_string() },
        });
        let params = PatchParams::apply("tester").force();
        secrets.patch(&map.name_any(), &params, &Patch::Apply(secret)).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let of_test = || watcher::Config::default().labels("kept");
    let (stop, stopped) = oneshot::channel::<()>();
    let controller = Controller::new(maps.clone(), of_test())
        .owns(secrets.clone(), watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(2))
        .graceful_shutdown_on(async { stopped.await.unwrap_or_default() });
    let store = controller.store();
    let running = controller.run(
        reconcile,
        |_, _, _| Action::requeue(std::time::Duration::from_millis(100)),
        Arc::new(secrets.clone()),
    );
    let running = tokio::spawn(running.for_each(|_| future::ready(())));

    maps.create(&PostParams::default(), &labelled("a", "kept", "yes")).await?;
    maps.create(&PostParams::default(), &config_map("b", "not kept")).await?;
    let mut changes =
        pin!(kube::runtime::watcher(secrets.clone(), watcher::Config::default()).applied_objects());
    let first = changes.try_next().await?.ok_or("the watch has ended")?;
    assert_eq!(first.name_any(), "a");
    // Somebody takes it away: it comes again.
    secrets.delete("a", &DeleteParams::default()).await?;
    let again = changes.try_next().await?.ok_or("the watch has ended")?;
    assert_ne!(again.uid(), first.uid());
    assert_eq!(store.state().iter().map(|map| map.name_any()).collect::<Vec<_>>(), ["a"]);
    stop.send(()).map_err(|()| "the controller has ended")?;
    running.await?;
    assert!(secrets.get_opt("b").await?.is_none());
    Ok(())
}

pub async fn metadata_watchers(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let partial: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client, &namespace);
    let made = maps.create(&PostParams::default(), &labelled("a", "seen", "1")).await?;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut stream =
            pin!(kube::runtime::watcher(partial.clone(), config.labels("seen")).touched_objects());
        let seen = stream.try_next().await?.ok_or("the watcher ended")?;
        assert_eq!(seen.metadata, made.metadata);
        assert_eq!(seen.types.as_ref().map(|types| types.kind.as_str()), Some("PartialObjectMetadata"));
    }
    let params = WatchParams::default().labels("seen").timeout(20);
    let mut events = maps.watch_metadata(&params, "0").await?.boxed();
    let first = events.try_next().await?;
    assert!(matches!(&first, Some(WatchEvent::Added(map)) if map.metadata == made.metadata), "{first:?}");
    Ok(())
}

// What a watch is told, it obeys: bookmarks or none, pages, what may be answered from a cache.
pub async fn ways_to_watch(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &labelled(name, "seen", "1")).await?;
    }
    let plain = || watcher::Config::default().labels("seen").timeout(30);
    let ways = [
        plain().page_size(1),
        plain().any_semantic(),
        plain().list_semantic(ListSemantic::MostRecent).disable_bookmarks(),
        plain().streaming_lists(),
        plain().fields("metadata.name!=nothing"),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut stream = pin!(kube::runtime::watcher(maps.clone(), way));
        let mut names = Vec::new();
        loop {
            match stream.try_next().await?.ok_or("the watcher ended")? {
                Event::InitApply(map) => names.push(map.name_any()),
                Event::InitDone => break,
                _ => {}
            }
        }
        names.sort();
        assert_eq!(names, ["a", "b", "c"], "way {number}");
        let patch = Patch::Merge(json!({ "data": { "value": number.to_string() } }));
        maps.patch("b", &PatchParams::default(), &patch).await?;
        let next = stream.try_next().await?;
        assert!(matches!(&next, Some(Event::Apply(map)) if map.name_any() == "b"), "way {number}: {next:?}");
    }
    let mut events = maps.watch(&WatchParams::streaming_lists().labels("seen"), "").await?.boxed();
    let mut seen = 0;
    loop {
        match events.try_next().await?.ok_or("the watch has ended")? {
            WatchEvent::Added(_) => seen += 1,
            WatchEvent::Bookmark(bookmark) => {
                let ends = bookmark.metadata.annotations.get("k8s.io/initial-events-end");
                assert_eq!(ends.map(String::as_str), Some("true"));
                break;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert_eq!(seen, 3);
    Ok(())
}

pub async fn one_object(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut stream = pin!(watcher::watch_object(maps.clone(), "a"));
    assert_eq!(stream.try_next().await?, Some(None));
    let made = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    maps.create(&PostParams::default(), &config_map("b", "1")).await?;
    assert_eq!(stream.try_next().await?, Some(Some(made)));
    maps.delete("a", &DeleteParams::default()).await?;
    assert_eq!(stream.try_next().await?, Some(None));
    Ok(())
}

// Several read one stream; what does not concern them is held back.
pub async fn shared(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &labelled("a", "seen", "1")).await?;
    let (store, writer) = reflector::store();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let stream = kube::runtime::watcher(maps.clone(), watcher::Config::default().labels("seen"))
        .default_backoff()
        .modify(|map| map.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicates::labels, Default::default())
        .try_for_each(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            future::ready(Ok(()))
        });
    let reading = tokio::spawn(stream);
    store.wait_until_ready().await?;
    let kept = store.get(&ObjectRef::new("a").within(&namespace)).ok_or("not in the store")?;
    assert!(kept.managed_fields().is_empty());
    // Another value is no other label; another label is.
    let value = Patch::Merge(json!({ "data": { "value": "2" } }));
    maps.patch("a", &PatchParams::default(), &value).await?;
    let label = Patch::Merge(json!({ "metadata": { "labels": { "seen": "2" } } }));
    let last = maps.patch("a", &PatchParams::default(), &label).await?;
    let reached = || store.state().iter().any(|map| map.resource_version() == last.resource_version());
    while !reached() || count.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
    reading.abort();
    let _ended = reading.await;
    let list = maps.list_metadata(&ListParams::default().labels("seen=2").match_any()).await?;
    assert_eq!(list.items.len(), 1);
    Ok(())
}
