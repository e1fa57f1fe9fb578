//! What is beside or below an object: scale, tokens, eviction, approval, further containers, another size.

use futures::AsyncBufReadExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Binding, Node, Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{AttachParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::errors::check;
use crate::{Outcome, pod};

/// A request that openssl made; nobody is asked to sign it.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIR01HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCSTkyeGNMU2puM3YxTFB0MFJJdjNyWEtyVWpQUWY2NlVDYmk0Y1JIT1MzdmNPL1E4ZzBUcXRQQnZrdTdkQWE1CmZsU1c2OWdyVVUzbVdQVzRadnVHYlhxZ0FEQUtCZ2dxaGtqT1BRUURBZ05JQURCRkFpQlp3aStJU0ZPQ0VHTisKdXRlbmFFVVoxSWtFZzFCeEJmb0pQWExzRGJQZGRBSWhBT2VPL3JDY3FiekJWeVVqK01abXJCRFpKVVhWU21lYwpWdVZVcS9JWlo5YnIKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

fn deployment(name: &str) -> Result<Deployment, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "example:1" }] },
            },
        },
    }))
}

pub async fn scales(client: Client, namespace: String) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    deployments.create(&PostParams::default(), &deployment("web")?).await?;
    let replicas = |scale: &Scale| scale.spec.as_ref().and_then(|spec| spec.replicas);
    let mut scale = deployments.get_scale("web").await?;
    // Upstream leaves a zero out.
    assert_eq!(replicas(&scale).unwrap_or(0), 0);
    scale.spec.get_or_insert_default().replicas = Some(2);
    let replaced = deployments.replace_scale("web", &PostParams::default(), &scale).await?;
    assert_eq!(replicas(&replaced), Some(2));
    let stale = deployments.replace_scale("web", &PostParams::default(), &scale).await;
    check("a stale scale", stale, 409, "Conflict");
    let applied = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "spec": { "replicas": 0 } });
    let params = PatchParams::apply("scaler").force();
    let scaled = deployments.patch_scale("web", &params, &Patch::Apply(applied)).await?;
    assert_eq!(replicas(&scaled).unwrap_or(0), 0);
    let web = deployments.get("web").await?;
    let mut managers = web.managed_fields().iter();
    assert!(
        managers
            .any(|it| it.manager.as_deref() == Some("scaler") && it.subresource.as_deref() == Some("scale"))
    );
    Ok(())
}

// By name, as for subresources that kube has no method for.
pub async fn by_name(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    pods.create(&PostParams::default(), &pod("p")?).await?;
    let mut status = pods.get_subresource("status", "p").await?;
    status.status.get_or_insert_default().message = Some("one".to_owned());
    let replaced: Pod = pods.replace_subresource("status", "p", &PostParams::default(), &status).await?;
    let message = |pod: &Pod| pod.status.as_ref().and_then(|status| status.message.clone());
    assert_eq!(message(&replaced).as_deref(), Some("one"));
    let patch = Patch::Merge(json!({ "status": { "message": "two" } }));
    let patched = pods.patch_subresource("status", "p", &PatchParams::default(), &patch).await?;
    assert_eq!(message(&patched).as_deref(), Some("two"));
    check("no such subresource", pods.get_subresource("nothing", "p").await, 404, "NotFound");
    let binding: Binding = serde_json::from_value(json!({
        "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "somewhere" },
    }))?;
    let answer: serde_json::Value =
        pods.create_subresource("binding", "p", &PostParams::default(), &binding).await?;
    assert_eq!(answer["status"], "Success");
    let node = pods.get("p").await?.spec.and_then(|spec| spec.node_name);
    assert_eq!(node.as_deref(), Some("somewhere"));
    Ok(())
}

pub async fn tokens(client: Client, namespace: String) -> Outcome {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let account = serde_json::from_value(json!({ "metadata": { "name": "robot" } }))?;
    accounts.create(&PostParams::default(), &account).await?;
    let mut wanted = TokenRequest::default();
    wanted.spec.get_or_insert_default().expiration_seconds = Some(3600);
    let token = accounts.create_token_request("robot", &PostParams::default(), &wanted).await?;
    let token = token.status.ok_or("no token")?.token;
    let mut review = TokenReview::default();
    review.spec.token = token.ok_or("an empty token")?;
    let reviews: Api<TokenReview> = Api::all(client);
    let status = reviews.create(&PostParams::default(), &review).await?.status.ok_or("no status")?;
    assert_eq!(status.authenticated, Some(true), "{:?}", status.error);
    let user = status.user.and_then(|user| user.username);
    assert_eq!(user, Some(format!("system:serviceaccount:{namespace}:robot")));
    let nobody = accounts.create_token_request("nobody", &PostParams::default(), &wanted).await;
    check("nobody's token", nobody, 404, "NotFound");
    Ok(())
}

pub async fn eviction(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut guarded = pod("guarded")?;
    guarded.labels_mut().insert("app".to_owned(), "guarded".to_owned());
    pods.create(&PostParams::default(), &guarded).await?;
    pods.create(&PostParams::default(), &pod("free")?).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, &namespace);
    let budget = json!({
        "metadata": { "name": "all" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "guarded" } } },
    });
    budgets.create(&PostParams::default(), &serde_json::from_value(budget)?).await?;
    // It counts pods that run only.
    let running = Patch::Merge(json!({ "status": {
        "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
    } }));
    pods.patch_status("guarded", &PatchParams::default(), &running).await?;
    check("a guarded pod", pods.evict("guarded", &EvictParams::default()).await, 429, "TooManyRequests");
    let tried = EvictParams {
        post_options: PostParams { dry_run: true, ..PostParams::default() },
        ..Default::default()
    };
    pods.evict("free", &tried).await?;
    assert!(pods.get_opt("free").await?.is_some());
    pods.evict("free", &EvictParams::default()).await?;
    assert!(pods.get_opt("free").await?.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    check("nobody", pods.evict("nobody", &EvictParams::default()).await, 404, "NotFound");
    Ok(())
}

pub async fn cordon(client: Client, namespace: String) -> Outcome {
    let nodes: Api<Node> = Api::all(client);
    let name = format!("of-{namespace}");
    let node = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    nodes.create(&PostParams::default(), &node).await?;
    let unschedulable = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable);
    assert_eq!(unschedulable(&nodes.cordon(&name).await?), Some(true));
    let cordoned = nodes.list(&ListParams::default().fields("spec.unschedulable=true")).await?;
    assert_eq!(cordoned.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), std::slice::from_ref(&name));
    assert_ne!(unschedulable(&nodes.uncordon(&name).await?), Some(true));
    nodes.delete(&name, &Default::default()).await?;
    Ok(())
}

pub async fn approval(client: Client, namespace: String) -> Outcome {
    let requests: Api<CertificateSigningRequest> = Api::all(client);
    let request = json!({
        "metadata": { "name": namespace },
        "spec": { "request": REQUEST, "signerName": "example.com/signer", "usages": ["client auth"] },
    });
    requests.create(&PostParams::default(), &serde_json::from_value(request)?).await?;
    assert!(requests.get_approval(&namespace).await?.status.is_none_or(|status| status.conditions.is_none()));
    let approve = Patch::Merge(json!({ "status": { "conditions": [
        { "type": "Approved", "status": "True", "reason": "Tested", "message": "It was tested" },
    ] } }));
    let approved = requests.patch_approval(&namespace, &PatchParams::default(), &approve).await?;
    let types = |request: &CertificateSigningRequest| -> Vec<String> {
        let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|condition| condition.type_.clone()).collect()
    };
    assert_eq!(types(&approved), ["Approved"]);
    check("nobody's approval", requests.get_approval("nobody").await, 404, "NotFound");
    Ok(())
}

pub async fn further_containers(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    pods.create(&PostParams::default(), &pod("p")?).await?;
    let shell = json!({ "name": "shell", "image": "busybox:1" });
    let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [shell] } }));
    let patched = pods.patch_ephemeral_containers("p", &PatchParams::default(), &patch).await?;
    let names = |pod: &Pod| -> Vec<String> {
        let containers = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        containers.map(|container| container.name.clone()).collect()
    };
    assert_eq!(names(&patched), ["shell"]);
    let mut more = pods.get_ephemeral_containers("p").await?;
    let other = serde_json::from_value(json!({ "name": "other", "image": "busybox:1" }))?;
    more.spec.get_or_insert_default().ephemeral_containers.get_or_insert_default().push(other);
    let replaced = pods.replace_ephemeral_containers("p", &PostParams::default(), &more).await?;
    assert_eq!(names(&replaced), ["shell", "other"]);
    // They stay, and do not come by the way of other changes.
    let none = Patch::Merge(json!({ "spec": { "ephemeralContainers": null } }));
    check(
        "taken away",
        pods.patch_ephemeral_containers("p", &PatchParams::default(), &none).await,
        422,
        "Invalid",
    );
    Ok(())
}

pub async fn another_size(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut sized = pod("p")?;
    let resources = serde_json::from_value(json!({ "requests": { "cpu": "100m" } }))?;
    if let Some(container) = sized.spec.as_mut().and_then(|spec| spec.containers.first_mut()) {
        container.resources = Some(resources);
    }
    pods.create(&PostParams::default(), &sized).await?;
    let larger = Patch::Strategic(json!({ "spec": { "containers": [
        { "name": "main", "resources": { "requests": { "cpu": "200m" } } },
    ] } }));
    let cpu = |pod: &Pod| {
        let container = pod.spec.as_ref()?.containers.first()?;
        container.resources.as_ref()?.requests.as_ref()?.get("cpu").map(|cpu| cpu.0.clone())
    };
    check(
        "by the way of other changes",
        pods.patch("p", &PatchParams::default(), &larger).await,
        422,
        "Invalid",
    );
    assert_eq!(
        cpu(&pods.patch_resize("p", &PatchParams::default(), &larger).await?).as_deref(),
        Some("200m")
    );
    let mut resized = pods.get_resize("p").await?;
    if let Some(container) = resized.spec.as_mut().and_then(|spec| spec.containers.first_mut()) {
        container.resources = serde_json::from_value(json!({ "requests": { "cpu": "300m" } }))?;
    }
    let resized = pods.replace_resize("p", &PostParams::default(), &resized).await?;
    assert_eq!(cpu(&resized).as_deref(), Some("300m"));
    Ok(())
}

// A pod that runs nowhere has said nothing, and nobody can speak to it.
pub async fn connections(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    pods.create(&PostParams::default(), &pod("p")?).await?;
    assert_eq!(pods.logs("p", &LogParams::default()).await?, "");
    let mut lines = pods.log_stream("p", &LogParams::default()).await?.lines();
    assert!(futures::StreamExt::next(&mut lines).await.is_none());
    let other = LogParams { container: Some("other".to_owned()), ..LogParams::default() };
    check("another container", pods.logs("p", &other).await, 400, "BadRequest");
    check("nobody's logs", pods.logs("nobody", &LogParams::default()).await, 404, "NotFound");
    let exec = pods.exec("p", ["true"], &AttachParams::default()).await.map(drop);
    assert!(exec.is_err(), "{exec:?}");
    let attach = pods.attach("p", &AttachParams::default()).await.map(drop);
    assert!(attach.is_err(), "{attach:?}");
    let forward = pods.portforward("p", &[80]).await.map(drop);
    assert!(forward.is_err(), "{forward:?}");
    Ok(())
}
