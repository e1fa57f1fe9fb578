//! Patches of every kind, and the subresources that take them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::{Outcome, config_map, pod};

fn data(map: &ConfigMap) -> Value {
    json!(map.data)
}

pub async fn merge(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let patch = json!({ "data": { "value": null, "other": "2" } });
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    assert_eq!(data(&patched), json!({ "other": "2" }));
    // Nothing new is no write.
    let same = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    assert_eq!(same.resource_version(), patched.resource_version());
    Ok(())
}

pub async fn strategic(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    pods.create(&PostParams::default(), &pod("p")?).await?;
    // Lists of the known kinds merge by their key: `main` keeps the rest.
    let patch = json!({ "spec": { "containers": [{ "name": "main", "image": "example:2" }] } });
    let patched = pods.patch("p", &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let containers = patched.spec.map(|spec| spec.containers).unwrap_or_default();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].image.as_deref(), Some("example:2"));
    assert_eq!(containers[0].termination_message_path.as_deref(), Some("/dev/termination-log"));
    Ok(())
}

pub async fn json(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let patch = |operations: Value| -> Result<Patch<()>, serde_json::Error> {
        Ok(Patch::Json(serde_json::from_value(operations)?))
    };
    let good = patch(json!([
        { "op": "test", "path": "/data/value", "value": "1" },
        { "op": "copy", "from": "/data/value", "path": "/data/copy" },
        { "op": "replace", "path": "/data/value", "value": "2" },
    ]))?;
    let patched = maps.patch("a", &PatchParams::default(), &good).await?;
    assert_eq!(data(&patched), json!({ "copy": "1", "value": "2" }));
    // The test does not hold any more.
    let refused = maps.patch("a", &PatchParams::default(), &good).await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
    assert_eq!(maps.get("a").await?, patched);
    Ok(())
}

pub async fn apply(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let applied = |value: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "value": value } });
    let mine = PatchParams::apply("mine");
    // Applied to nothing, it is made.
    let made = maps.patch("a", &mine, &Patch::Apply(applied("1"))).await?;
    assert_eq!(data(&made), json!({ "value": "1" }));
    let owners: Vec<_> = made.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
    assert_eq!(owners, ["mine"]);
    // Another manager's field is a conflict, unless it is taken by force.
    let theirs = PatchParams::apply("theirs");
    let refused = maps.patch("a", &theirs, &Patch::Apply(applied("2"))).await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.is_conflict()), "{refused:?}");
    let forced = maps.patch("a", &theirs.force(), &Patch::Apply(applied("2"))).await?;
    assert_eq!(data(&forced), json!({ "value": "2" }));
    // What was applied and is not any more goes.
    let nothing = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let emptied = maps.patch("a", &PatchParams::apply("theirs"), &Patch::Apply(nothing)).await?;
    assert_eq!(data(&emptied), Value::Null);
    Ok(())
}

pub async fn status(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let created = pods.create(&PostParams::default(), &pod("p")?).await?;
    let condition = json!({ "type": "example.com/Seen", "status": "True" });
    let patch = json!({ "status": { "conditions": [condition] }, "spec": { "nodeName": "nowhere" } });
    let patched = pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(patch)).await?;
    // The status only: the rest of the patch is not heard.
    assert_eq!(patched.spec, created.spec);
    let seen = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "example.com/Seen")
    };
    assert!(seen(&patched));
    // And a write of the object does not touch the status.
    let mut replaced = patched.clone();
    replaced.status = None;
    replaced.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let replaced = pods.replace("p", &PostParams::default(), &replaced).await?;
    assert!(seen(&replaced));
    let mut cleared = replaced.clone();
    cleared.status.get_or_insert_default().conditions = None;
    let cleared = pods.replace_status("p", &PostParams::default(), &cleared).await?;
    assert!(!seen(&cleared));
    assert_eq!(pods.get_status("p").await?, cleared);
    Ok(())
}

fn deployment(name: &str) -> Result<Deployment, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "paused": true,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
            },
        },
    }))
}

pub async fn scale(client: Client, namespace: String) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    deployments.create(&PostParams::default(), &deployment("web")?).await?;
    let replicas =
        |scale: &k8s_openapi::api::autoscaling::v1::Scale| scale.spec.as_ref().and_then(|spec| spec.replicas);
    let mut scale = deployments.get_scale("web").await?;
    assert_eq!(replicas(&scale), Some(1));
    let patch = json!({ "spec": { "replicas": 3 } });
    let patched = deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    assert_eq!(replicas(&patched), Some(3));
    assert_eq!(patched.status.and_then(|status| status.selector).as_deref(), Some("app=web"));
    assert_eq!(deployments.get("web").await?.spec.replicas, Some(3));
    // One that was read before, written after.
    scale.spec.get_or_insert_default().replicas = Some(7);
    let stale = deployments.replace_scale("web", &PostParams::default(), &scale).await;
    assert!(matches!(&stale, Err(kube::Error::Api(status)) if status.is_conflict()), "{stale:?}");
    // The controller writes too, so the newest may be of now only.
    scale.metadata.resource_version = None;
    let replaced = deployments.replace_scale("web", &PostParams::default(), &scale).await?;
    assert_eq!(replicas(&replaced), Some(7));
    Ok(())
}

pub async fn restart(client: Client, namespace: String) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    let created = deployments.create(&PostParams::default(), &deployment("web")?).await?;
    let restarted = deployments.restart("web").await?;
    let annotations = restarted.spec.template.metadata.and_then(|meta| meta.annotations);
    assert!(annotations.unwrap_or_default().contains_key("kube.kubernetes.io/restartedAt"));
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(restarted.metadata.generation, Some(2));
    Ok(())
}
