//! Node pools: as many simulated nodes as they ask for, of their shape.

use std::time::Duration;

use coracle::Options;
use coracle_crds::{NodePool, node_pool::HEARTBEATS};
use k8s_openapi::api::{
    autoscaling::v1::Scale,
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with_options};

/// A cluster that has no node but those of pools.
pub fn bare() -> Options {
    let mut options = Options { nodes: 0, ..Options::default() };
    options.simulation.pools = true;
    options.simulation.renew_every = Duration::from_millis(300);
    options.control.nodes.monitor_period = Duration::from_millis(100);
    options.control.nodes.monitor_grace = Duration::from_secs(4);
    options
}

pub async fn pool(client: &Client, name: &str, spec: Value) -> Outcome<NodePool> {
    let api: Api<NodePool> = Api::all(client.clone());
    let pool = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    Ok(api.create(&PostParams::default(), &pool).await?)
}

fn is_ready(pool: &NodePool) -> bool {
    let conditions = pool.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|it| it.type_ == "Ready").any(|it| it.status == "True")
        && pool.status.as_ref().is_some_and(|status| status.observed_generation == pool.metadata.generation)
}

fn condition<'a>(node: &'a Node, type_: &str) -> &'a str {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|it| it.type_ == type_).map_or("", |it| it.status.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_keeps_its_nodes() {
    let outcome = with_options(bare(), async |client| {
        let (pools, nodes): (Api<NodePool>, Api<Node>) = (Api::all(client.clone()), Api::all(client.clone()));
        let example = serde_yaml_ng::from_str(include_str!("../../crds/examples/pool.yaml"))?;
        pools.create(&PostParams::default(), &example).await?;
        let ready = until(&pools, "accelerated", is_ready).await?;
        let status = ready.status.clone().unwrap_or_default();
        assert_eq!((status.replicas, status.ready_replicas, status.updated_replicas), (10, 10, 10));

        let node = nodes.get("accelerated-2").await?;
        assert_eq!(node.labels().get("topology.kubernetes.io/zone").map(String::as_str), Some("south"));
        assert_eq!(node.owner_references().first().map(|owner| owner.uid.clone()), ready.uid());
        let shown = json!(node);
        assert_eq!(shown["spec"]["taints"][0], json!({"key": "example.com/gpu", "effect": "NoSchedule"}));
        assert_eq!(shown["status"]["capacity"]["example.com/gpu"], "8");
        assert_eq!(shown["status"]["allocatable"]["cpu"], "95500m");
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        until(&leases, "accelerated-2", |lease| {
            lease.owner_references().first().map(|it| &it.uid) == node.metadata.uid.as_ref()
        })
        .await?;

        // Scaled as anything else is: those of the highest numbers go.
        let scale: Scale = pools.get_scale("accelerated").await?;
        assert_eq!(
            scale.status.and_then(|status| status.selector).as_deref(),
            Some("coracle.dev/node-pool=accelerated")
        );
        let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
        pools.patch_scale("accelerated", &PatchParams::default(), &two).await?;
        let left = until_all(&nodes, "", |nodes| nodes.len() == 2).await?;
        assert_eq!(
            left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            ["accelerated-1", "accelerated-2"]
        );

        // A change of the template holds for what is made from then on.
        let larger = Patch::Merge(json!({"spec": {"template": {"capacity": {"cpu": "128"}}}}));
        pools.patch("accelerated", &PatchParams::default(), &larger).await?;
        until(&pools, "accelerated", |pool| {
            is_ready(pool) && pool.status.as_ref().is_some_and(|it| it.updated_replicas == 0)
        })
        .await?;
        let old = nodes.get("accelerated-1").await?.uid();
        nodes.delete("accelerated-1", &DeleteParams::default()).await?;
        let cpu = |node: &Node| json!(node)["status"]["capacity"]["cpu"].clone();
        until(&nodes, "accelerated-1", |node| node.uid() != old && cpu(node) == "128").await?;
        until(&pools, "accelerated", |pool| {
            is_ready(pool) && pool.status.as_ref().is_some_and(|it| it.updated_replicas == 1)
        })
        .await?;

        // With the pool go its nodes.
        pools.delete("accelerated", &DeleteParams::default()).await?;
        until_all(&nodes, "", <[Node]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("a pool keeps its nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_on_the_nodes_of_a_pool() {
    let outcome = with_options(bare(), async |client| {
        let (nodes, pods): (Api<Node>, Api<Pod>) =
            (Api::all(client.clone()), Api::default_namespaced(client.clone()));
        pool(&client, "small", json!({"prefix": "tiny", "template": {"capacity": {"pods": 1}}})).await?;
        until(&nodes, "tiny-1", |node| condition(node, "Ready") == "True").await?;
        let web = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "nginx"}], "terminationGracePeriodSeconds": 1}});
        create::<Pod>(&client, web).await?;
        until(&pods, "web", |pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
        })
        .await?;

        // A node that is stopped does nothing more, until it goes on.
        let stop = |value: Value| Patch::Merge(json!({"metadata": {"annotations": {HEARTBEATS: value}}}));
        nodes.patch("tiny-1", &PatchParams::default(), &stop(json!("stopped"))).await?;
        until(&nodes, "tiny-1", |node| condition(node, "Ready") == "Unknown").await?;
        pods.delete("web", &DeleteParams::default()).await?;
        nodes.patch("tiny-1", &PatchParams::default(), &stop(Value::Null)).await?;
        until(&nodes, "tiny-1", |node| condition(node, "Ready") == "True").await?;
        until_all(&pods, "", <[Pod]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("pods run on the nodes of a pool");
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_checked() {
    let outcome = with_options(bare(), async |client| {
        let refused = async |name: &str, spec: Value, part: &str| -> Outcome {
            let kind = ApiResource::erase::<NodePool>(&());
            let pools: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let written = DynamicObject::new(name, &kind).data(json!({"spec": spec}));
            let told =
                pools.create(&PostParams::default(), &written).await.err().map(|error| error.to_string());
            assert!(told.as_ref().is_some_and(|told| told.contains(part)), "{spec}: {told:?}");
            Ok(())
        };
        refused("a", json!({"replicas": -1}), "spec.replicas: Invalid value: -1").await?;
        refused("a.b", json!({}), "at most 63 characters, no dot").await?;
        refused("a", json!({"prefix": "Big"}), "spec.prefix").await?;
        refused("a", json!({"template": {"capacity": {"cpu": "many"}}}), "spec.template.capacity").await?;
        refused(
            "a",
            json!({"template": {"taints": [{"key": "a", "effect": "Sometimes"}]}}),
            "Unsupported value",
        )
        .await?;
        refused("a", json!({"template": {"labels": {"coracle.dev/node-pool": "b"}}}), "the pool's own")
            .await?;
        let pools: Api<NodePool> = Api::all(client.clone());
        pool(&client, "a", json!({"prefix": "one"})).await?;
        let changed = |spec: Value| Patch::Merge(json!({"spec": spec}));
        for spec in [json!({"prefix": "two"}), json!({"prefix": null})] {
            let told = pools
                .patch("a", &PatchParams::default(), &changed(spec))
                .await
                .err()
                .map(|error| error.to_string());
            assert!(
                told.as_ref().is_some_and(|told| told.contains("the prefix cannot be changed")),
                "{told:?}"
            );
        }
        // Two that want the same names.
        pool(&client, "b", json!({"prefix": "one"})).await?;
        let lost = until(&pools, "b", |pool| {
            pool.status.iter().flat_map(|it| &it.conditions).any(|it| it.reason == "NamesTaken")
        })
        .await?;
        assert_eq!(lost.status.map(|status| status.replicas), Some(0));
        Ok(())
    });
    outcome.await.expect("pools are checked");
}
