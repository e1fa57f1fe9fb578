//! Claims and volumes.

use k8s_openapi::api::{
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{StorageClass, VolumeAttributesClass},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn claim(name: &str, class: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                 "resources": {"requests": {"storage": "1Gi"}}},
    })
}

async fn volume(client: &Client, name: &str, size: &str, source: Value, policy: &str) -> Outcome {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "capacity": {"storage": size},
                 "persistentVolumeReclaimPolicy": policy},
    });
    for (key, value) in source.as_object().into_iter().flatten() {
        volume["spec"][key] = value.clone();
    }
    volumes.create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
    Ok(())
}

async fn is_told(client: &Client, reason: &str, message: &str) -> Outcome {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let told = |event: &Event| {
        event.reason.as_deref() == Some(reason)
            && event.message.as_deref().is_some_and(|text| text.contains(message))
    };
    until_all(&events, "", |events| events.iter().any(told)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gets_the_volume_that_fits() {
    let outcome = with(async |client| {
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        create::<PersistentVolumeClaim>(&client, claim("data", Some("manual"))).await?;
        is_told(&client, "ProvisioningFailed", "storageclass.storage.k8s.io \"manual\" not found").await?;
        let nfs = || json!({"nfs": {"server": "example", "path": "/"}});
        volume(&client, "small", "500Mi", nfs(), "Retain").await?;
        volume(&client, "fits", "2Gi", nfs(), "Retain").await?;
        let bound = until(&claims, "data", |claim| phase(claim) == "Bound").await?;
        let spec = bound.spec.clone().unwrap_or_default();
        assert_eq!(spec.volume_name.as_deref(), Some("fits"));
        let capacity = bound.status.and_then(|status| status.capacity).unwrap_or_default();
        assert_eq!(capacity.get("storage").map(|size| size.0.as_str()), Some("2Gi"));
        until(&volumes, "fits", |volume| volume_phase(volume) == "Bound").await?;
        until(&volumes, "small", |volume| volume_phase(volume) == "Available").await?;

        // A volume that is bound stays when it is deleted; a claim in use too.
        volumes.delete("fits", &DeleteParams::default()).await?;
        create::<Pod>(
            &client,
            json!({
                "metadata": {"name": "user"},
                "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "example:1"}],
                         "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
            }),
        )
        .await?;
        let used = |claim: &PersistentVolumeClaim, status: &str| {
            let conditions = claim.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Unused" && c.status == status)
        };
        until(&claims, "data", |claim| used(claim, "False")).await?;
        claims.delete("data", &DeleteParams::default()).await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        assert!(claims.get_opt("data").await?.is_some());
        pods.delete("user", &DeleteParams::default().grace_period(0)).await?;
        until_all(&claims, "", |claims| claims.is_empty()).await?;
        until_all(&volumes, "", |volumes| volumes.iter().all(|volume| volume.name_any() != "fits")).await?;
        Ok(())
    });
    outcome.await.expect("a claim gets the volume that fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deleted_fails() {
    let outcome = with(async |client| {
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        volume(&client, "share", "2Gi", json!({"nfs": {"server": "example", "path": "/"}}), "Delete").await?;
        create::<PersistentVolumeClaim>(&client, claim("data", Some("manual"))).await?;
        until(&claims, "data", |claim| phase(claim) == "Bound").await?;
        claims.delete("data", &DeleteParams::default()).await?;
        let failed = until(&volumes, "share", |volume| volume_phase(volume) == "Failed").await?;
        let message = failed.status.and_then(|status| status.message).unwrap_or_default();
        assert!(message.contains("no deletable volume plugin matched"), "{message}");
        // A claim whose volume goes away is lost.
        volume(&client, "other", "2Gi", json!({"nfs": {"server": "example", "path": "/"}}), "Retain").await?;
        create::<PersistentVolumeClaim>(&client, claim("doomed", Some("manual"))).await?;
        until(&claims, "doomed", |claim| phase(claim) == "Bound").await?;
        volumes.delete("other", &DeleteParams::default()).await?;
        let unprotected = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        volumes.patch("other", &PatchParams::default(), &unprotected).await?;
        until(&claims, "doomed", |claim| phase(claim) == "Lost").await?;
        Ok(())
    });
    outcome.await.expect("what cannot be deleted fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_made_where_the_first_consumer_is() {
    let outcome = with(async |client| {
        let classes: Api<StorageClass> = Api::all(client.clone());
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        until(&classes, "standard", |class| class.provisioner == "coracle.dev/local").await?;
        create::<PersistentVolumeClaim>(&client, claim("data", None)).await?;
        is_told(&client, "WaitForFirstConsumer", "waiting for first consumer").await?;
        // The scheduler's choice.
        let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-2"}}});
        claims.patch("data", &PatchParams::default(), &Patch::Merge(selected)).await?;
        let bound = until(&claims, "data", |claim| phase(claim) == "Bound").await?;
        let name = bound.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
        let spec = volumes.get(&name).await?.spec.unwrap_or_default();
        assert!(json!(spec.node_affinity).to_string().contains("node-2"), "{spec:?}");
        assert!(spec.host_path.is_some_and(|host_path| host_path.path.ends_with(&name)));
        // It grows when the claim does.
        let more = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
        claims.patch("data", &PatchParams::default(), &Patch::Merge(more)).await?;
        let size = |claim: &PersistentVolumeClaim| {
            claim.status.as_ref()?.capacity.as_ref()?.get("storage").map(|size| size.0.clone())
        };
        until(&claims, "data", |claim| size(claim).as_deref() == Some("3Gi")).await?;
        claims.delete("data", &DeleteParams::default()).await?;
        until_all(&volumes, "", |volumes| volumes.is_empty()).await?;
        Ok(())
    });
    outcome.await.expect("volumes are made where the first consumer is");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_volume_has_a_claim() {
    let outcome = with(async |client| {
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        volume(&client, "share", "2Gi", json!({"nfs": {"server": "example", "path": "/"}}), "Retain").await?;
        let pod = json!({
            "metadata": {"name": "user"},
            "spec": {"containers": [{"name": "main", "image": "example:1"}],
                     "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
                         "spec": claim("x", Some("manual"))["spec"]}}}]},
        });
        create::<Pod>(&client, pod).await?;
        until(&claims, "user-scratch", |claim| phase(claim) == "Bound").await?;
        // It goes with its pod.
        pods.delete("user", &DeleteParams::default().grace_period(0)).await?;
        until_all(&claims, "", |claims| claims.is_empty()).await?;
        Ok(())
    });
    outcome.await.expect("an ephemeral volume has a claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_of_attributes_stays_while_it_is_used() {
    let outcome = with(async |client| {
        let classes: Api<VolumeAttributesClass> = Api::all(client.clone());
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        for name in ["used", "unused"] {
            let class =
                json!({"metadata": {"name": name}, "driverName": "example.com", "parameters": {"a": "b"}});
            classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
        }
        let source = json!({"csi": {"driver": "example.com", "volumeHandle": "h"}, "volumeAttributesClassName": "used"});
        volume(&client, "fast", "1Gi", source, "Retain").await?;
        until(&volumes, "fast", |volume| volume_phase(volume) == "Available").await?;
        for name in ["used", "unused"] {
            classes.delete(name, &DeleteParams::default()).await?;
        }
        until_all(&classes, "", |classes| classes.len() == 1).await?;
        volumes.delete("fast", &DeleteParams::default()).await?;
        until_all(&classes, "", |classes| classes.is_empty()).await?;
        Ok(())
    });
    outcome.await.expect("a class of attributes stays while it is used");
}
