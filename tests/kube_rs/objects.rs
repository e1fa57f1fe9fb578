//! Objects from their creation to their end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::{Outcome, config_map, labelled, pod};

pub async fn life(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let created = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    assert_eq!(created.namespace().as_deref(), Some(namespace.as_str()));
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    assert_eq!(maps.get("a").await?, created);
    assert_eq!(maps.get_opt("b").await?, None);

    let mut changed = created.clone();
    changed.data.get_or_insert_default().insert("value".to_owned(), "2".to_owned());
    let replaced = maps.replace("a", &PostParams::default(), &changed).await?;
    assert_eq!(replaced.data, changed.data);
    assert_eq!(replaced.uid(), created.uid());
    assert_ne!(replaced.resource_version(), created.resource_version());
    // The same again is no write.
    let same = maps.replace("a", &PostParams::default(), &replaced).await?;
    assert_eq!(same.resource_version(), replaced.resource_version());

    let status =
        maps.delete("a", &DeleteParams::default()).await?.right().ok_or("an object, not a status")?;
    assert!(status.is_success());
    assert_eq!(status.details.map(|details| details.uid), created.uid());
    assert_eq!(maps.get_opt("a").await?, None);
    Ok(())
}

pub async fn generated_names(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let metadata = ObjectMeta { generate_name: Some("made-".to_owned()), ..ObjectMeta::default() };
    let wanted = ConfigMap { metadata, ..ConfigMap::default() };
    let one = maps.create(&PostParams::default(), &wanted).await?;
    let other = maps.create(&PostParams::default(), &wanted).await?;
    for made in [&one, &other] {
        assert!(made.name_any().starts_with("made-") && made.name_any().len() == 10, "{}", made.name_any());
        assert_eq!(maps.get(&made.name_any()).await?, *made);
    }
    assert_ne!(one.name_any(), other.name_any());
    Ok(())
}

pub async fn collections(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "front")] {
        maps.create(&PostParams::default(), &labelled(name, "tier", tier)).await?;
    }
    let front = ListParams::default().labels("tier=front");
    let names = |list: &kube::api::ObjectList<ConfigMap>| -> Vec<String> {
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    let deleted = maps.delete_collection(&DeleteParams::default(), &front).await?;
    assert_eq!(deleted.left().as_ref().map(names), Some(vec!["a".to_owned(), "c".to_owned()]));
    let left = maps.list(&ListParams::default().labels("tier")).await?;
    assert_eq!(names(&left), ["b"]);
    Ok(())
}

pub async fn dry_run(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let only = PostParams { dry_run: true, ..PostParams::default() };
    let created = maps.create(&only, &config_map("a", "1")).await?;
    assert!(created.uid().is_some());
    assert_eq!(maps.get_opt("a").await?, None);

    let kept = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let patch = Patch::Merge(json!({ "data": { "value": "2" } }));
    let patched = maps.patch("a", &PatchParams::default().dry_run(), &patch).await?;
    assert_eq!(patched.data.and_then(|data| data.get("value").cloned()).as_deref(), Some("2"));
    let replaced = maps.replace("a", &only, &config_map("a", "3")).await?;
    assert_eq!(replaced.data, config_map("a", "3").data);
    maps.delete("a", &DeleteParams::default().dry_run()).await?;
    assert_eq!(maps.get("a").await?, kept);
    Ok(())
}

pub async fn finalizers(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut wanted = config_map("held", "1");
    wanted.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    maps.create(&PostParams::default(), &wanted).await?;
    let answer = maps.delete("held", &DeleteParams::default()).await?;
    let deleting = answer.left().ok_or("a status, not the object that is still there")?;
    assert!(deleting.metadata.deletion_timestamp.is_some());
    assert_eq!(maps.get("held").await?, deleting);

    let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("held", &PatchParams::default(), &patch).await?;
    assert_eq!(maps.get_opt("held").await?, None);
    Ok(())
}

// kube's own way with them: JSON patches with a test.
pub async fn finalizer_of_a_reconciler(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let mut events = Vec::new();
    for round in 0..4 {
        let Some(map) = maps.get_opt("a").await? else { break };
        finalizer(&maps, "example.com/tidy", Arc::new(map), |event| {
            events.push(matches!(event, Event::Cleanup(_)));
            std::future::ready(Ok::<_, std::io::Error>(Action::await_change()))
        })
        .await?;
        if round == 1 {
            maps.delete("a", &DeleteParams::default()).await?;
        }
    }
    // First it is put on, then the object is seen, then its end.
    assert_eq!(events, [false, true]);
    assert_eq!(maps.get_opt("a").await?, None);
    Ok(())
}

pub async fn preconditions(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let created = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let only = |uid: Option<String>, resource_version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { resource_version, uid })
    };
    for params in [only(Some("another".to_owned()), None), only(None, Some("1".to_owned()))] {
        let refused = maps.delete("a", &params).await;
        assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.is_conflict()), "{refused:?}");
    }
    maps.delete("a", &only(created.uid(), created.resource_version())).await?;
    assert_eq!(maps.get_opt("a").await?, None);
    Ok(())
}

pub async fn metadata_only(client: Client, namespace: String) -> Outcome {
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let mut secret = Secret::default();
    secret.metadata.name = Some("a".to_owned());
    secret.string_data = Some([("password".to_owned(), "x".to_owned())].into());
    let created = secrets.create(&PostParams::default(), &secret).await?;
    let stored = created.data.unwrap_or_default();
    assert_eq!(stored.get("password").map(|bytes| bytes.0.as_slice()), Some(b"x".as_slice()));

    let metadata = secrets.get_metadata("a").await?;
    assert_eq!(metadata.metadata, created.metadata);
    assert_eq!(metadata.types.map(|types| types.kind).as_deref(), Some("PartialObjectMetadata"));
    let list = secrets.list_metadata(&ListParams::default()).await?;
    assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a"]);
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let patched = secrets.patch_metadata("a", &PatchParams::default(), &patch).await?;
    assert_eq!(patched.labels().get("a").map(String::as_str), Some("b"));
    Ok(())
}

// Get, change, commit, and the grace that a pod is given.
pub async fn entry(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let mut held = maps.entry("a").await?.or_insert(|| config_map("a", "1"));
    held.commit(&PostParams::default()).await?;
    held.get_mut().data.get_or_insert_default().insert("more".to_owned(), "2".to_owned());
    held.commit(&PostParams::default()).await?;
    assert_eq!(maps.get("a").await?.data.map(|data| data.len()), Some(2));

    let pods = Api::namespaced(client, &namespace);
    pods.create(&PostParams::default(), &pod("p")?).await?;
    pods.delete("p", &DeleteParams::default().grace_period(0)).await?;
    assert!(pods.get_opt("p").await?.is_none());
    Ok(())
}
