//! DaemonSet.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::cluster::{create, until, until_all, with};

#[tokio::test(flavor = "multi_thread")]
async fn each_node_has_its_pod() {
    let outcome = with(async |client| {
        create::<DaemonSet>(
            &client,
            json!({
                "metadata": { "name": "log" },
                "spec": {
                    "selector": { "matchLabels": { "app": "log" } },
                    "template": {
                        "metadata": { "labels": { "app": "log" } },
                        "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
                    },
                },
            }),
        )
        .await?;
        let sets: Api<DaemonSet> = Api::default_namespaced(client.clone());
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let available = |set: &DaemonSet| set.status.as_ref().and_then(|it| it.number_available);
        until(&sets, "log", |set| available(set) == Some(2)).await?;
        let own = until_all(&pods, "app=log", |pods| pods.len() == 2).await?;
        let mut nodes: Vec<_> = own.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
        nodes.sort();
        let all: Api<Node> = Api::all(client.clone());
        assert_eq!(
            nodes,
            until_all(&all, "", |_| true).await?.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );

        let change = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "main", "image": "example:2" }] } } } });
        sets.patch("log", &PatchParams::default(), &Patch::Strategic(change)).await?;
        until(&sets, "log", |set| {
            let status = set.status.as_ref();
            status.is_some_and(|it| {
                it.observed_generation == set.metadata.generation
                    && it.updated_number_scheduled == Some(2)
                    && it.number_available == Some(2)
            })
        })
        .await?;
        // Where it is no longer to run it does not.
        let change = json!({ "spec": { "template": { "spec": { "nodeSelector": { "none": "such" } } } } });
        sets.patch("log", &PatchParams::default(), &Patch::Strategic(change)).await?;
        until_all(&pods, "app=log", <[_]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("each node has its pod");
}
