//! DaemonSet.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

async fn change(client: &Client, change: Value) -> Outcome {
    let sets: Api<DaemonSet> = Api::default_namespaced(client.clone());
    sets.patch("agent", &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

/// Waits until so many nodes have a pod that is ready and up to date.
async fn until_ready(client: &Client, count: i32) -> Outcome {
    let sets: Api<DaemonSet> = Api::default_namespaced(client.clone());
    until(&sets, "agent", |set| {
        let status = set.status.clone().unwrap_or_default();
        status.observed_generation == set.metadata.generation
            && status.desired_number_scheduled == count
            && status.number_ready == count
            && status.updated_number_scheduled.unwrap_or(0) == count
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_a_pod_on_every_node_that_it_may_run_on() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        let template = |image: &str| {
            json!({
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "main", "image": image }], "terminationGracePeriodSeconds": 0 },
            })
        };
        create::<DaemonSet>(
            &client,
            json!({
                "metadata": { "name": "agent" },
                "spec": { "selector": { "matchLabels": { "app": "agent" } }, "template": template("example:1") },
            }),
        )
        .await?;
        until_ready(&client, 2).await?;
        let first = until_all(&pods, "app=agent", |pods| pods.len() == 2).await?;
        let on = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        assert_ne!(on(&first[0]), on(&first[1]));

        // A failed pod is replaced.
        let failed = Patch::Merge(json!({ "status": { "phase": "Failed" } }));
        pods.patch_status(&first[0].name_any(), &PatchParams::default(), &failed).await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let told = |event: &Event| event.reason.as_deref() == Some("FailedDaemonPod");
        until_all(&events, "", |events| events.iter().any(told)).await?;
        until_ready(&client, 2).await?;

        // A new template, and back: two revisions.
        change(&client, json!({ "spec": { "template": template("example:2") } })).await?;
        until_ready(&client, 2).await?;
        change(&client, json!({ "spec": { "template": template("example:1") } })).await?;
        until_ready(&client, 2).await?;
        let revisions: Api<ControllerRevision> = Api::default_namespaced(client.clone());
        let kept = until_all(&revisions, "app=agent", |revisions| {
            let mut numbers: Vec<_> = revisions.iter().filter_map(|it| it.revision).collect();
            numbers.sort_unstable();
            numbers == [2, 3]
        });
        kept.await?;

        // Nodes that it may no longer run on lose their pod.
        let name = nodes.list(&Default::default()).await?.items[0].name_any();
        let chosen = Patch::Merge(json!({ "metadata": { "labels": { "agent": "yes" } } }));
        nodes.patch(&name, &PatchParams::default(), &chosen).await?;
        change(
            &client,
            json!({ "spec": { "template": { "spec": { "nodeSelector": { "agent": "yes" } } } } }),
        )
        .await?;
        until_ready(&client, 1).await?;
        until_all(&pods, "app=agent", |pods| pods.len() == 1 && on(&pods[0]).as_ref() == Some(&name)).await?;
        let left = Patch::Merge(json!({ "metadata": { "labels": { "agent": "no" } } }));
        nodes.patch(&name, &PatchParams::default(), &left).await?;
        until_ready(&client, 0).await?;
        until_all(&pods, "app=agent", <[_]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("each node has its daemon");
}
