//! Disruptions that are asked for: evictions, with and without a budget, and
//! preemption.

use coracle::Options;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams},
    core::Status,
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with, with_options};

async fn pod(client: &Client, name: &str, extra: Value) -> Outcome<Pod> {
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "nginx", "readinessProbe": {"httpGet": {"port": 80}}}]});
    spec.as_object_mut().into_iter().for_each(|it| it.extend(extra.as_object().cloned().unwrap_or_default()));
    // The finalizer keeps it to be looked at after it went.
    let meta = json!({"name": name, "labels": {"app": "web"}, "finalizers": ["example.com/held"]});
    create(client, json!({"metadata": meta, "spec": spec})).await
}

async fn budget(client: &Client, spec: Value) -> Outcome {
    create::<PodDisruptionBudget>(client, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    Ok(())
}

fn says(pod: &Pod, type_: &str) -> Option<(String, String)> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|it| it.type_ == type_ && it.status == "True")?;
    Some((found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default()))
}

fn evicted() -> Option<(String, String)> {
    Some(("EvictionByEvictionAPI".to_owned(), "Eviction API: evicting".to_owned()))
}

async fn refusal(pods: &Api<Pod>, name: &str, params: &EvictParams) -> Outcome<Box<Status>> {
    match pods.evict(name, params).await {
        Err(kube::Error::Api(status)) => Ok(status),
        other => Err(format!("{name} should not go: {other:?}").into()),
    }
}

fn is_ready(pod: &Pod) -> bool {
    says(pod, "Ready").is_some()
}

async fn allowed(client: &Client, number: i32) -> Outcome {
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    until(&budgets, "web", |budget| {
        budget.status.as_ref().is_some_and(|it| {
            it.disruptions_allowed == Some(number) && it.observed_generation == budget.metadata.generation
        })
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_stands_against_evictions() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        for name in ["one", "two"] {
            pod(&client, name, json!({})).await?;
            until(&pods, name, is_ready).await?;
        }
        budget(&client, json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}})).await?;
        allowed(&client, 1).await?;
        let dry = EvictParams {
            post_options: PostParams { dry_run: true, ..PostParams::default() },
            ..EvictParams::default()
        };
        pods.evict("one", &dry).await?;
        let kept = pods.get("one").await?;
        assert!(kept.metadata.deletion_timestamp.is_none() && says(&kept, "DisruptionTarget").is_none());

        pods.evict("one", &EvictParams::default()).await?;
        let gone = pods.get("one").await?;
        assert!(gone.metadata.deletion_timestamp.is_some());
        assert_eq!(says(&gone, "DisruptionTarget"), evicted());

        allowed(&client, 0).await?;
        let status = refusal(&pods, "two", &EvictParams::default()).await?;
        assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
        assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let told: Vec<_> =
            causes.iter().map(|cause| (cause.reason.as_str(), cause.message.as_str())).collect();
        assert_eq!(
            told,
            [("DisruptionBudget", "The disruption budget web needs 1 healthy pods and has 1 currently")]
        );
        assert!(pods.get("two").await?.metadata.deletion_timestamp.is_none());
        refusal(&pods, "two", &dry).await?;

        // Pods that are another one's now are not meant.
        let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
        budgets.delete("web", &DeleteParams::default()).await?;
        // As it is on the wire: kube writes the options under another name.
        let other = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "two"},
            "deleteOptions": {"preconditions": {"uid": "another"}},
        });
        let request = http::Request::post("/api/v1/namespaces/default/pods/two/eviction")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&other)?)?;
        let refused = client.request::<Value>(request).await;
        assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
        assert!(says(&pods.get("two").await?, "DisruptionTarget").is_none());
        Ok(())
    });
    outcome.await.expect("a budget stands against evictions");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_not_ready_may_go() {
    let outcome = with(async |client| {
        let (pods, budgets): (Api<Pod>, Api<PodDisruptionBudget>) =
            (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
        for name in ["well", "ill"] {
            pod(&client, name, json!({})).await?;
            until(&pods, name, is_ready).await?;
        }
        let ill =
            Patch::Merge(json!({"metadata": {"annotations": {"coracle.dev/failing-probes": "readiness"}}}));
        pods.patch("ill", &PatchParams::default(), &ill).await?;
        until(&pods, "ill", |pod| !is_ready(pod)).await?;
        // Two are needed and one is healthy: none may go by the usual policy.
        budget(&client, json!({"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}})).await?;
        allowed(&client, 0).await?;
        assert_eq!(refusal(&pods, "ill", &EvictParams::default()).await?.code, 429);
        let always = Patch::Merge(json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}));
        budgets.patch("web", &PatchParams::default(), &always).await?;
        pods.evict("ill", &EvictParams::default()).await?;
        assert_eq!(says(&pods.get("ill").await?, "DisruptionTarget"), evicted());
        assert_eq!(refusal(&pods, "well", &EvictParams::default()).await?.code, 429);
        Ok(())
    });
    outcome.await.expect("pods that are not ready may go");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_say_why_they_make_room() {
    let mut options = Options { nodes: 1, ..Options::default() };
    options.control.pod_collection.quarantine = std::time::Duration::from_millis(500);
    let outcome = with_options(options, async |client| {
        let (pods, nodes): (Api<Pod>, Api<Node>) =
            (Api::default_namespaced(client.clone()), Api::all(client.clone()));
        let classes: Api<PriorityClass> = Api::all(client.clone());
        let urgent = serde_json::from_value(json!({"metadata": {"name": "urgent"}, "value": 1000}))?;
        classes.create(&PostParams::default(), &urgent).await?;
        until_all(&nodes, "", |nodes| nodes.len() == 1).await?;
        let asks = |class: &str| json!({"priorityClassName": class, "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "30"}}}]});
        pod(&client, "low", asks("")).await?;
        until(&pods, "low", is_ready).await?;
        pod(&client, "high", asks("urgent")).await?;
        let low = until(&pods, "low", |pod| pod.metadata.deletion_timestamp.is_some()).await?;
        let (reason, message) = says(&low, "DisruptionTarget").unwrap_or_default();
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod")
        );
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        pods.patch("low", &PatchParams::default(), &free).await?;
        until(&pods, "high", is_ready).await?;

        // Its node goes, and the collector says so before it takes the pod away.
        let host = nodes
            .list(&Default::default())
            .await?
            .items
            .first()
            .map(ResourceExt::name_any)
            .unwrap_or_default();
        nodes.delete(&host, &DeleteParams::default()).await?;
        let high = until(&pods, "high", |pod| pod.metadata.deletion_timestamp.is_some()).await?;
        let (reason, message) = says(&high, "DisruptionTarget").unwrap_or_default();
        assert_eq!((reason.as_str(), message.as_str()), ("DeletionByPodGC", "PodGC: node no longer exists"));
        Ok(())
    });
    outcome.await.expect("pods say why they make room");
}
