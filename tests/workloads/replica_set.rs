//! ReplicaSet.

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::Api;
use serde_json::json;

use crate::cluster::{create, until, until_all, with};

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_pods() {
    let outcome = with(async |client| {
        create::<ReplicaSet>(
            &client,
            json!({
                "metadata": { "name": "web" },
                "spec": {
                    "replicas": 3,
                    "selector": { "matchLabels": { "app": "web" } },
                    "template": {
                        "metadata": { "labels": { "app": "web" } },
                        "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
                    },
                },
            }),
        )
        .await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        until_all(&pods, "app=web", |pods| pods.len() == 3).await?;
        let sets: Api<ReplicaSet> = Api::default_namespaced(client);
        let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas);
        until(&sets, "web", |set| ready(set) == Some(3)).await?;
        Ok(())
    });
    outcome.await.expect("a set keeps its pods");
}
