//! StatefulSet.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::cluster::{Outcome, create, until, until_all, with};

fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_pods_and_their_data() {
    let outcome: Outcome = with(async |client| {
        create::<StatefulSet>(
            &client,
            json!({
                "metadata": { "name": "db" },
                "spec": {
                    "replicas": 3,
                    "serviceName": "db",
                    "selector": { "matchLabels": { "app": "db" } },
                    "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Retain" },
                    "template": {
                        "metadata": { "labels": { "app": "db" } },
                        "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
                    },
                    "volumeClaimTemplates": [{
                        "metadata": { "name": "data" },
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": { "requests": { "storage": "1Gi" } },
                        },
                    }],
                },
            }),
        )
        .await?;
        let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let ready = |set: &StatefulSet| set.status.as_ref().and_then(|it| it.ready_replicas);
        until(&sets, "db", |set| ready(set) == Some(3)).await?;
        assert_eq!(names(&until_all(&pods, "app=db", |_| true).await?), ["db-0", "db-1", "db-2"]);
        until_all(&claims, "app=db", |all| names(all) == ["data-db-0", "data-db-1", "data-db-2"]).await?;

        let change = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "main", "image": "example:2" }] } } } });
        sets.patch("db", &PatchParams::default(), &Patch::Strategic(change)).await?;
        until(&sets, "db", |set| {
            let status = set.status.as_ref();
            status.is_some_and(|it| {
                it.observed_generation == set.metadata.generation
                    && it.current_revision == it.update_revision
                    && it.ready_replicas == Some(3)
            })
        })
        .await?;
        let revisions: Api<ControllerRevision> = Api::default_namespaced(client.clone());
        until_all(&revisions, "app=db", |all| all.len() == 2).await?;

        sets.patch("db", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "replicas": 1 } }))).await?;
        until_all(&pods, "app=db", |all| names(all) == ["db-0"]).await?;
        assert_eq!(until_all(&claims, "app=db", |_| true).await?.len(), 3, "data outlives pods");
        sets.delete("db", &DeleteParams::default()).await?;
        until_all(&claims, "app=db", <[_]>::is_empty).await?;
        Ok(())
    })
    .await;
    outcome.expect("a set keeps its pods and their data");
}
