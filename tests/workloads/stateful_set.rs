//! StatefulSet.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

fn web(replicas: i32) -> Value {
    json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": { "matchLabels": { "app": "web" } },
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Delete" },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main", "image": "example:1" }], "terminationGracePeriodSeconds": 0 },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } },
            }],
        },
    })
}

fn names<K: kube::Resource>(items: &[K]) -> Vec<String> {
    items.iter().map(ResourceExt::name_any).collect()
}

async fn change(client: &Client, change: Value) -> Outcome {
    let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
    sets.patch("web", &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

async fn until_status(
    client: &Client,
    enough: impl Fn(&StatefulSetStatus) -> bool,
) -> Outcome<StatefulSetStatus> {
    let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
    let set = until(&sets, "web", |set| {
        let status = set.status.clone().unwrap_or_default();
        status.observed_generation == set.metadata.generation && enough(&status)
    });
    Ok(set.await?.status.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pods_have_names_claims_and_revisions() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let revisions: Api<ControllerRevision> = Api::default_namespaced(client.clone());
        let set: StatefulSet = create(&client, web(2)).await?;
        let first = until_status(&client, |status| status.ready_replicas == Some(2)).await?;
        assert_eq!(names(&pods.list(&Default::default()).await?.items), ["web-0", "web-1"]);
        let owner = |claim: &PersistentVolumeClaim| claim.owner_references().first().map(|it| it.uid.clone());
        let owned = until_all(&claims, "app=web", |claims| {
            claims.len() == 2 && claims.iter().all(|claim| owner(claim) == set.uid())
        });
        assert_eq!(names(&owned.await?), ["data-web-0", "data-web-1"]);

        // A new template comes from the end; the old one is kept.
        let second = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "example:2" }] } } } });
        change(&client, second).await?;
        let updated = until_status(&client, |status| {
            status.updated_replicas == Some(2)
                && status.ready_replicas == Some(2)
                && status.current_revision == status.update_revision
        });
        assert_ne!(updated.await?.current_revision, first.current_revision);
        assert_eq!(revisions.list(&Default::default()).await?.items.len(), 2);
        // Back again: no third revision.
        let back = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "example:1" }] } } } });
        change(&client, back).await?;
        let gone_back = |status: &StatefulSetStatus| {
            status.current_revision == first.current_revision && status.ready_replicas == Some(2)
        };
        until_status(&client, gone_back).await?;
        let kept = revisions.list(&Default::default()).await?.items;
        let mut numbers: Vec<_> = kept.iter().filter_map(|it| it.revision).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3]);

        // Claims of pods that are scaled away go with them, the others with the set.
        change(&client, json!({ "spec": { "replicas": 1 } })).await?;
        until_all(&claims, "app=web", |claims| claims.len() == 1).await?;
        let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
        sets.delete("web", &DeleteParams::default()).await?;
        until_all(&claims, "app=web", <[_]>::is_empty).await?;
        until_all(&pods, "app=web", <[_]>::is_empty).await?;
        until_all(&revisions, "", <[_]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("a set's pods are as they should be");
}
