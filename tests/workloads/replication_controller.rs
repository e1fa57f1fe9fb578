//! ReplicationController.

use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::cluster::{create, until, until_all, with};

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_pods_and_lets_go_of_others() {
    let outcome = with(async |client| {
        create::<ReplicationController>(
            &client,
            json!({
                "metadata": { "name": "web" },
                "spec": {
                    "replicas": 2,
                    "template": {
                        "metadata": { "labels": { "app": "web" } },
                        "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
                    },
                },
            }),
        )
        .await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let controllers: Api<ReplicationController> = Api::default_namespaced(client);
        let ready = |it: &ReplicationController| it.status.as_ref().and_then(|status| status.ready_replicas);
        until(&controllers, "web", |it| ready(it) == Some(2)).await?;
        let own = until_all(&pods, "app=web", |pods| pods.len() == 2).await?;
        let kind = own[0].owner_references().first().map(|owner| owner.kind.clone());
        assert_eq!(kind.as_deref(), Some("ReplicationController"));
        // A pod that is no longer selected is let go, and another takes its place.
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "app": "other" } } }));
        pods.patch(&own[0].name_any(), &PatchParams::default(), &patch).await?;
        until(&pods, &own[0].name_any(), |pod| pod.owner_references().is_empty()).await?;
        until_all(&pods, "app=web", |pods| pods.len() == 2).await?;
        Ok(())
    });
    outcome.await.expect("a controller keeps its pods");
}
