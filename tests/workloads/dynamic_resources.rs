//! Claims of devices: the scheduler, the controller of claims, and eviction
//! by taints of devices.

use k8s_openapi::api::{
    core::v1::{Event, Node, Pod},
    resource::v1::{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

const DRIVER: &str = "gpu.example.com";

/// Publishes devices on one node and the class `gpu`; returns the node's name.
async fn publish(client: &Client, devices: Value) -> Outcome<String> {
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let untainted = node.spec.as_ref().is_none_or(|spec| spec.taints.is_none());
        untainted && conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
    };
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = until_all(&nodes, "", |nodes| nodes.len() == 2 && nodes.iter().all(ready)).await?;
    let node = nodes.last().ok_or("no node")?.name_any();
    let slice = json!({
        "metadata": { "name": "gpus" },
        "spec": {
            "driver": DRIVER, "nodeName": node,
            "pool": { "name": node, "generation": 1, "resourceSliceCount": 1 },
            "devices": devices,
        },
    });
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    let class = json!({
        "metadata": { "name": "gpu" },
        "spec": {
            "selectors": [{ "cel": { "expression": format!("device.driver == {DRIVER:?}") } }],
            "extendedResourceName": "example.com/gpu",
        },
    });
    let classes: Api<DeviceClass> = Api::all(client.clone());
    classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
    Ok(node)
}

fn pod(name: &str, claims: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "containers": [{ "name": "main", "image": "example:1" }],
            "resourceClaims": claims, "terminationGracePeriodSeconds": 0,
        },
    })
}

fn on(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn devices(claim: &ResourceClaim) -> Vec<String> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let results = allocation.and_then(|it| it.devices.as_ref()).and_then(|it| it.results.as_ref());
    results.into_iter().flatten().map(|result| result.device.clone()).collect()
}

fn users(claim: &ResourceClaim) -> usize {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_ref()).map_or(0, Vec::len)
}

async fn template(client: &Client) -> Outcome {
    let request = json!({ "name": "one", "exactly": { "deviceClassName": "gpu" } });
    let template = json!({
        "metadata": { "name": "gpu" },
        "spec": { "spec": { "devices": { "requests": [request] } } },
    });
    create::<ResourceClaimTemplate>(client, template).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_where_their_devices_are_and_wait_for_those_in_use() {
    let outcome = with(async |client| {
        let node = publish(&client, json!([{ "name": "gpu-0" }])).await?;
        template(&client).await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let claims: Api<ResourceClaim> = Api::default_namespaced(client.clone());
        let asks = || json!([{ "name": "gpu", "resourceClaimTemplateName": "gpu" }]);
        create::<Pod>(&client, pod("first", asks())).await?;
        let first = until(&pods, "first", |pod| on(pod).is_some()).await?;
        assert_eq!(on(&first), Some(node.as_str()));
        let made = until_all(&claims, "", |claims| claims.len() == 1 && users(&claims[0]) == 1).await?;
        assert_eq!(devices(&made[0]), ["gpu-0"]);
        assert!(made[0].finalizers().contains(&"resource.kubernetes.io/delete-protection".to_owned()));
        let statuses = first.status.and_then(|status| status.resource_claim_statuses).unwrap_or_default();
        assert_eq!(statuses[0].resource_claim_name, made[0].metadata.name);

        create::<Pod>(&client, pod("second", asks())).await?;
        let told = until(&pods, "second", |pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|it| it.type_ == "PodScheduled" && it.status == "False")
        })
        .await?;
        let conditions = told.status.and_then(|status| status.conditions).unwrap_or_default();
        let why = conditions.iter().find(|it| it.type_ == "PodScheduled").and_then(|it| it.message.clone());
        assert_eq!(
            why.as_deref(),
            Some(
                "0/2 nodes are available: 2 cannot allocate all claims. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
            )
        );

        // When the first is gone, its claim goes and the second gets the device.
        pods.delete("first", &DeleteParams::default()).await?;
        let second = until(&pods, "second", |pod| on(pod).is_some()).await?;
        assert_eq!(on(&second), Some(node.as_str()));
        until_all(&claims, "", |claims| claims.len() == 1 && users(&claims[0]) == 1).await?;

        // A pod that ends gives its devices back though it stays.
        let ended = Patch::Merge(json!({ "status": { "phase": "Succeeded" } }));
        pods.patch_status("second", &PatchParams::default(), &ended).await?;
        until_all(&claims, "", |claims| claims.is_empty()).await?;
        Ok(())
    })
    .await;
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_shared_and_freed_when_the_last_user_is_gone() {
    let outcome = with(async |client| {
        let node = publish(&client, json!([{ "name": "gpu-0" }, { "name": "gpu-1" }])).await?;
        let request =
            json!({ "name": "both", "exactly": { "deviceClassName": "gpu", "allocationMode": "All" } });
        let claim = json!({
            "metadata": { "name": "shared" }, "spec": { "devices": { "requests": [request] } },
        });
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let claims: Api<ResourceClaim> = Api::default_namespaced(client.clone());
        let asks = || json!([{ "name": "gpu", "resourceClaimName": "shared" }]);
        // The pods come before what they ask for.
        create::<Pod>(&client, pod("a", asks())).await?;
        create::<Pod>(&client, pod("b", asks())).await?;
        create::<ResourceClaim>(&client, claim).await?;
        for name in ["a", "b"] {
            let placed = until(&pods, name, |pod| on(pod).is_some()).await?;
            assert_eq!(on(&placed), Some(node.as_str()));
        }
        let shared = until(&claims, "shared", |claim| users(claim) == 2).await?;
        assert_eq!(devices(&shared), ["gpu-0", "gpu-1"]);
        pods.delete("a", &DeleteParams::default()).await?;
        let still = until(&claims, "shared", |claim| users(claim) == 1).await?;
        assert_eq!(devices(&still).len(), 2);
        pods.delete("b", &DeleteParams::default()).await?;
        until(&claims, "shared", |claim| devices(claim).is_empty() && claim.finalizers().is_empty()).await?;
        Ok(())
    })
    .await;
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_resources_are_had_as_devices() {
    let outcome = with(async |client| {
        let node = publish(&client, json!([{ "name": "gpu-0" }])).await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let claims: Api<ResourceClaim> = Api::default_namespaced(client.clone());
        let mut asking = pod("p", json!(null));
        let limits = json!({ "limits": { "example.com/gpu": "1" }, "requests": { "example.com/gpu": "1" } });
        asking["spec"]["containers"][0]["resources"] = limits;
        create::<Pod>(&client, asking).await?;
        let placed = until(&pods, "p", |pod| on(pod).is_some()).await?;
        assert_eq!(on(&placed), Some(node.as_str()));
        let told =
            placed.status.and_then(|status| status.extended_resource_claim_status).ok_or("not told")?;
        let made = claims.get(&told.resource_claim_name).await?;
        assert_eq!((devices(&made), users(&made)), (vec!["gpu-0".to_owned()], 1));
        assert!(told.resource_claim_name.starts_with("p-extended-resources-"));
        let mapping = &told.request_mappings[0];
        assert_eq!(
            (mapping.container_name.as_str(), mapping.resource_name.as_str(), mapping.request_name.as_str()),
            ("main", "example.com/gpu", "container-0-request-0")
        );
        pods.delete("p", &DeleteParams::default()).await?;
        until_all(&claims, "", |claims| claims.is_empty()).await?;
        Ok(())
    })
    .await;
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_from_devices_that_are_tainted() {
    let outcome = with(async |client| {
        publish(&client, json!([{ "name": "gpu-0" }])).await?;
        template(&client).await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let rules: Api<DeviceTaintRule> = Api::all(client.clone());
        let asks = json!([{ "name": "gpu", "resourceClaimTemplateName": "gpu" }]);
        create::<Pod>(&client, pod("p", asks)).await?;
        until(&pods, "p", |pod| on(pod).is_some()).await?;
        let rule = json!({
            "metadata": { "name": "broken" },
            "spec": {
                "deviceSelector": { "driver": DRIVER },
                "taint": { "key": "example.com/broken", "effect": "NoExecute" },
            },
        });
        rules.create(&PostParams::default(), &serde_json::from_value(rule)?).await?;
        until_all(&pods, "", |pods| pods.is_empty()).await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        until_all(&events, "", |events| {
            events.iter().any(|event| {
                event.reason.as_deref() == Some("DeviceTaintManagerEviction")
                    && event.message.as_deref() == Some("Marking for deletion")
            })
        })
        .await?;
        let told = until(&rules, "broken", |rule| {
            let conditions = rule.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "EvictionInProgress"))
        });
        told.await?;
        Ok(())
    })
    .await;
    outcome.unwrap();
}
