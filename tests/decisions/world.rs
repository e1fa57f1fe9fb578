//! Where decisions are made: a server of ours with a generated world in it, and the real scheduler at work there.

use std::path::Path;
use std::time::Duration;

use coracle::Cluster;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Failure;
use crate::compare::{Chosen, Refused};
use crate::extender::{Extender, REFUSE};
use crate::generate::{NAMESPACES, World};
use crate::ours::{self, Decision};
use crate::reference::Scheduler;

/// What no decision takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server of ours and the real scheduler.
pub struct Place {
    cluster: Cluster,
    client: Client,
    extender: Extender,
    scheduler: Scheduler,
}

impl Place {
    pub async fn start(binary: &Path, directory: &Path) -> Result<Self, Failure> {
        let cluster = Cluster::builder().api_server_only().listen_locally().start().await?;
        let file = directory.join("kubeconfig");
        std::fs::write(&file, cluster.kubeconfig().ok_or("the server does not listen")?)?;
        let client = cluster.client();
        for (name, labels) in NAMESPACES {
            let labels: serde_json::Map<String, Value> =
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
            create(&client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
                .await?;
            create(&client, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}))
                .await?;
        }
        create(
            &client,
            &json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": "decisions-high"}, "value": 1000}),
        )
        .await?;
        let extender = Extender::start().await?;
        let scheduler = Scheduler::start(binary, directory, &file, &extender.address.to_string())?;
        Ok(Self { cluster, client, extender, scheduler })
    }

    pub async fn stop(self) {
        drop(self.scheduler);
        self.cluster.stop().await;
    }

    /// Makes everything that is there before pods come.
    pub async fn furnish(&self, world: &World) -> Result<(), Failure> {
        for node in &world.nodes {
            self.node(node).await?;
        }
        for object in world.owners.iter().chain(&world.storage) {
            create(&self.client, object).await?;
        }
        for (at, pod) in world.placed.iter().enumerate() {
            create(&self.client, pod).await?;
            // Some are about to go.
            if at % 9 == 8 {
                self.pods(pod).delete(text(&pod["metadata"]["name"]), &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }

    /// A new node gets a taint until it is ready, which nobody takes away here.
    async fn node(&self, node: &Value) -> Result<(), Failure> {
        create(&self.client, node).await?;
        let api: Api<Node> = Api::all(self.client.clone());
        let name = text(&node["metadata"]["name"]);
        let mut made = api.get(name).await?;
        let wanted: Node = serde_json::from_value(node.clone())?;
        made.spec.get_or_insert_default().taints = wanted.spec.and_then(|spec| spec.taints);
        api.replace(name, &PostParams::default(), &made).await?;
        Ok(())
    }

    /// Takes the world away again.
    pub async fn clear(&self) -> Result<(), Failure> {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for (namespace, _) in NAMESPACES {
            for (version, kind) in [
                ("v1", "Pod"),
                ("v1", "PersistentVolumeClaim"),
                ("v1", "Service"),
                ("v1", "ReplicationController"),
                ("apps/v1", "ReplicaSet"),
                ("apps/v1", "StatefulSet"),
            ] {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), namespace, &row(version, kind));
                if kind == "Service" {
                    for service in api.list(&ListParams::default()).await?.items {
                        api.delete(service.metadata.name.as_deref().unwrap_or_default(), &now).await?;
                    }
                    continue;
                }
                api.delete_collection(&now, &ListParams::default()).await?;
            }
        }
        for (version, kind) in [
            ("v1", "Node"),
            ("v1", "PersistentVolume"),
            ("storage.k8s.io/v1", "CSINode"),
            ("storage.k8s.io/v1", "StorageClass"),
        ] {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &row(version, kind));
            api.delete_collection(&now, &ListParams::default()).await?;
        }
        Ok(())
    }

    /// Lets the pod come, and refuses it every node.
    pub async fn look(&self, pod: &Value, attempt: usize) -> Result<(Refused, Decision), Failure> {
        let mut pod = pod.clone();
        let name = format!("{}-look{attempt}", text(&pod["metadata"]["name"]));
        pod["metadata"]["name"] = name.clone().into();
        pod["metadata"]["annotations"] = json!({REFUSE: "yes"});
        let key = format!("{}/{name}", text(&pod["metadata"]["namespace"]));
        let api = self.pods(&pod);
        let created = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let refused =
            wait(&api, &name, |pod: Option<&Pod>| pod.is_some_and(|pod| refusal(pod).is_some())).await?;
        let message = refusal(&refused).unwrap_or_default().to_owned();
        let found = self.extender.found.lock().await.remove(&key).unwrap_or_default();
        let own = ours::decide(&self.client, &created).await?;
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        api.delete(&name, &now).await?;
        Ok((Refused { message, found }, own))
    }

    /// Lets the pod come and be bound, to one of `found` nodes.
    pub async fn go(&self, pod: &Value, attempt: usize, found: usize) -> Result<Chosen, Failure> {
        let mut pod = pod.clone();
        let name = format!("{}-go{attempt}", text(&pod["metadata"]["name"]));
        pod["metadata"]["name"] = name.clone().into();
        let key = format!("{}/{name}", text(&pod["metadata"]["namespace"]));
        let api = self.pods(&pod);
        api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let bound = wait(&api, &name, |pod: Option<&Pod>| {
            node_of(pod).is_some() || pod.is_some_and(|pod| refusal(pod).is_some())
        })
        .await?;
        let node =
            node_of(Some(&bound)).ok_or_else(|| format!("{name} was not bound: {:?}", refusal(&bound)))?;
        // Nobody scores where there is no choice.
        let scored = if found > 1 { found } else { 0 };
        let written = tokio::time::timeout(PATIENCE, self.scheduler.log.scores(&key, scored));
        let written = if scored == 0 { Default::default() } else { written.await? };
        Ok(Chosen { scores: written.by_rule, total: written.total, nodes: [node.to_owned()].into() })
    }

    /// False when a volume would have to be bound first, which no controller does here.
    pub fn may_be_bound(&self, pod: &Value) -> bool {
        let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        volumes.iter().all(|v| text(&v["persistentVolumeClaim"]["claimName"]).starts_with("bound-"))
    }

    fn pods(&self, pod: &Value) -> Api<Pod> {
        Api::namespaced(self.client.clone(), text(&pod["metadata"]["namespace"]))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn row(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

async fn create(client: &Client, object: &Value) -> Result<(), Failure> {
    let row = row(text(&object["apiVersion"]), text(&object["kind"]));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &row),
        None => Api::all_with(client.clone(), &row),
    };
    let mut object: DynamicObject = serde_json::from_value(object.clone())?;
    object.types = Some(TypeMeta { api_version: row.api_version.clone(), kind: row.kind.clone() });
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{} {:?}: {error}", row.kind, object.metadata.name).into()),
    }
}

async fn wait(api: &Api<Pod>, name: &str, condition: impl Condition<Pod>) -> Result<Pod, Failure> {
    match tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
        Ok(done) => Ok(done?.ok_or_else(|| format!("{name} is gone"))?),
        Err(_) => Err(format!("nothing became of {name}: {:?}", api.get_opt(name).await?).into()),
    }
}

/// What the scheduler said of a pod that it gave no node.
fn refusal(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    scheduled.message.as_deref()
}

fn node_of(pod: Option<&Pod>) -> Option<&str> {
    pod?.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}
