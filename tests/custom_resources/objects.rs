//! What is done to the objects of a custom resource.

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery,
    runtime::finalizer::{Event, finalizer},
};
use serde_json::json;

use crate::{
    Outcome,
    boats::{Boat, boat, boats, launch},
    with,
};

#[tokio::test]
async fn life() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        let made = launch(&boats, "a", "kiel").await?;
        assert_eq!((made.metadata.generation, made.spec.crew), (Some(1), 1));
        let patch = Patch::Merge(json!({ "spec": { "crew": 3 }, "status": { "aboard": 9 } }));
        let changed = boats.patch("a", &PatchParams::default(), &patch).await?;
        assert_eq!((changed.metadata.generation, changed.spec.crew, &changed.status), (Some(2), 3, &None));
        let status = Patch::Merge(json!({ "spec": { "crew": 5 }, "status": { "aboard": 2 } }));
        let changed = boats.patch_status("a", &PatchParams::default(), &status).await?;
        assert_eq!((changed.metadata.generation, changed.spec.crew), (Some(2), 3));
        assert_eq!(changed.status.map(|it| it.aboard), Some(2));
        let scale = boats.get_scale("a").await?;
        assert_eq!(scale.spec.and_then(|it| it.replicas), Some(3));
        let more = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
        boats.patch_scale("a", &PatchParams::default(), &more).await?;
        assert_eq!(boats.get("a").await?.spec.crew, 4);
        boats.delete("a", &DeleteParams::default()).await?;
        assert!(boats.get_opt("a").await?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_the_schema_refuses() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        let mut crowded = boat("a", "kiel");
        crowded.spec.crew = 10;
        let Err(kube::Error::Api(status)) = boats.create(&PostParams::default(), &crowded).await else {
            return Err("it was taken".into());
        };
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
        assert!(status.message.contains("spec.crew in body should be less than or equal to 9"), "{status:?}");
        let strategic = Patch::Strategic(json!({ "spec": { "crew": 3 } }));
        launch(&boats, "a", "kiel").await?;
        let Err(kube::Error::Api(status)) = boats.patch("a", &PatchParams::default(), &strategic).await
        else {
            return Err("it was patched".into());
        };
        assert_eq!(status.code, 415);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn apply_keeps_what_others_own() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        let config = |crew: i32| {
            Patch::Apply(json!({ "apiVersion": "fleet.example.com/v1", "kind": "Boat", "metadata": { "name": "a" }, "spec": { "port": "kiel", "crew": crew } }))
        };
        boats.patch("a", &PatchParams::apply("one"), &config(2)).await?;
        let Err(kube::Error::Api(status)) = boats.patch("a", &PatchParams::apply("two"), &config(3)).await else {
            return Err("there was no conflict".into());
        };
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
        let forced = boats.patch("a", &PatchParams::apply("two").force(), &config(3)).await?;
        assert_eq!(forced.spec.crew, 3);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn selectable_fields_select_lists_and_watches() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        launch(&boats, "a", "kiel").await?;
        launch(&boats, "b", "lagos").await?;
        let of = |port: &str| format!("spec.port={port}");
        let found = boats.list(&ListParams::default().fields(&of("lagos"))).await?;
        assert_eq!(found.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["b"]);
        let params = WatchParams::default().fields(&of("kiel"));
        let mut events =
            boats.watch(&params, &found.metadata.resource_version.unwrap_or_default()).await?.boxed();
        let moved = Patch::Merge(json!({ "spec": { "port": "kiel" } }));
        boats.patch("b", &PatchParams::default(), &moved).await?;
        let gone = Patch::Merge(json!({ "spec": { "port": "oslo" } }));
        boats.patch("a", &PatchParams::default(), &gone).await?;
        let first = events.try_next().await?;
        assert!(matches!(&first, Some(WatchEvent::Added(it)) if it.name_any() == "b"), "{first:?}");
        let second = events.try_next().await?;
        assert!(matches!(&second, Some(WatchEvent::Deleted(it)) if it.name_any() == "a"), "{second:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn discovered_at_run_time() -> Outcome {
    with(async |client| {
        boats(&client).await?;
        let gvk = GroupVersionKind::gvk("fleet.example.com", "v1", "Boat");
        let (resource, capabilities) = discovery::pinned_kind(&client, &gvk).await?;
        assert_eq!(resource.plural, "boats");
        assert_eq!(capabilities.subresources.len(), 2);
        let api: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
        let wanted =
            DynamicObject::new("a", &resource).data(json!({ "spec": { "port": "kiel", "unknown": 1 } }));
        let made = api.create(&PostParams::default(), &wanted).await?;
        assert_eq!(made.data["spec"], json!({ "port": "kiel", "crew": 1 }));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn finalizer_of_a_reconciler() -> Outcome {
    with(async |client| {
        let boats = boats(&client).await?;
        let made = launch(&boats, "a", "kiel").await?;
        let name = "fleet.example.com/moored";
        let reconcile = async |boat: Boat| {
            finalizer(&boats, name, boat.into(), |event| async move {
                match event {
                    Event::Apply(_) | Event::Cleanup(_) => {
                        Ok::<_, std::convert::Infallible>(kube::runtime::controller::Action::await_change())
                    }
                }
            })
            .await
        };
        reconcile(made).await?;
        let held = boats.get("a").await?;
        assert_eq!(held.finalizers(), [name]);
        boats.delete("a", &DeleteParams::default()).await?;
        let held = boats.get("a").await?;
        assert!(held.metadata.deletion_timestamp.is_some());
        reconcile(held).await?;
        assert!(boats.get_opt("a").await?.is_none());
        Ok(())
    })
    .await
}
