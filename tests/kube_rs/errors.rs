//! Refusals, as `kube::Error::Api` tells them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Error, ResourceExt};
use serde_json::json;

use crate::{Outcome, config_map, pod};

/// Checks that the answer to `what` is this refusal.
pub fn check<T: std::fmt::Debug>(what: &str, result: Result<T, Error>, code: u16, reason: &str) {
    match result {
        Err(Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (code, reason), "{what}: {}", status.message);
        }
        other => panic!("{what}: {other:?}"),
    }
}

pub async fn reasons(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let post = PostParams::default();
    let created = maps.create(&post, &config_map("a", "1")).await?;

    check("get", maps.get("nothing").await, 404, "NotFound");
    check("delete", maps.delete("nothing", &Default::default()).await, 404, "NotFound");
    let patch = Patch::Merge(json!({ "data": null }));
    check("patch", maps.patch("nothing", &PatchParams::default(), &patch).await, 404, "NotFound");
    check("create twice", maps.create(&post, &config_map("a", "2")).await, 409, "AlreadyExists");
    check("bad name", maps.create(&post, &config_map("A_B", "1")).await, 422, "Invalid");
    check("no name", maps.create(&post, &ConfigMap::default()).await, 422, "Invalid");

    let mut stale = config_map("a", "2");
    stale.metadata.resource_version = Some("1".to_owned());
    check("stale", maps.replace("a", &post, &stale).await, 409, "Conflict");
    let mut foreign = created.clone();
    foreign.metadata.uid = Some("another".to_owned());
    foreign.metadata.resource_version = None;
    check("another's uid", maps.replace("a", &post, &foreign).await, 409, "Conflict");
    check("wrong name", maps.replace("b", &post, &created).await, 400, "BadRequest");

    check("bad selector", maps.list(&ListParams::default().labels("a in")).await, 400, "BadRequest");
    check("bad field", maps.list(&ListParams::default().fields("data.a=b")).await, 400, "BadRequest");
    let strict = PatchParams::default().validation_strict();
    let unknown = Patch::Merge(json!({ "nothing": 1 }));
    check("unknown field", maps.patch("a", &strict, &unknown).await, 422, "Invalid");
    let wrong = Patch::Merge(json!({ "data": [] }));
    check("wrong type", maps.patch("a", &PatchParams::default(), &wrong).await, 422, "Invalid");
    assert_eq!(maps.get("a").await?, created);

    let elsewhere: Api<ConfigMap> = Api::namespaced(client.clone(), "nowhere");
    check("no namespace", elsewhere.create(&post, &config_map("a", "1")).await, 404, "NotFound");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Nothing"));
    let nothing: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    // No status: the path leads nowhere, which is told in plain text.
    check("no such kind", nothing.list(&ListParams::default()).await, 404, "Failed to parse error data");
    let namespaces: Api<Namespace> = Api::all(client);
    check("protected", namespaces.delete("default", &Default::default()).await, 403, "Forbidden");
    Ok(())
}

// What is wrong, where, in the details.
pub async fn causes(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut wanted = pod("p")?;
    let spec = wanted.spec.get_or_insert_default();
    spec.containers[0].image = None;
    spec.restart_policy = Some("Sometimes".to_owned());
    let Err(Error::Api(status)) = pods.create(&PostParams::default(), &wanted).await else {
        return Err("it was taken".into());
    };
    assert!(status.is_invalid());
    let details = status.details.ok_or("no details")?;
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("p", "Pod"));
    let mut causes: Vec<_> =
        details.causes.iter().map(|cause| (cause.field.as_str(), cause.reason.as_str())).collect();
    causes.sort_unstable();
    assert_eq!(
        causes,
        [
            ("spec.containers[0].image", "FieldValueRequired"),
            ("spec.restartPolicy", "FieldValueNotSupported"),
        ]
    );
    Ok(())
}

// Of many that read and write back, each is heard once: the others are told.
pub async fn conflict(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &config_map("a", "0")).await?;
    let writers = (0..8).map(|number| {
        let maps = maps.clone();
        tokio::spawn(async move {
            loop {
                let mut map = maps.get("a").await?;
                map.data.get_or_insert_default().insert(format!("writer-{number}"), "was here".to_owned());
                match maps.replace("a", &PostParams::default(), &map).await {
                    Err(Error::Api(status)) if status.is_conflict() => {}
                    other => return other.map(|map| map.resource_version()),
                }
            }
        })
    });
    let mut revisions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.push(writer.await??);
    }
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), 8);
    assert_eq!(maps.get("a").await?.data.map(|data| data.len()), Some(9));
    Ok(())
}
