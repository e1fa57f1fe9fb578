//! EndpointSlices and Endpoints, of pods and mirrored.

use k8s_openapi::api::{
    core::v1::{Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, api::DeleteParams};
use serde_json::json;

use crate::cluster::{Outcome, create, until, until_all, with};

const OWN: &str = "kubernetes.io/service-name=web,\
                   endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

fn ready(slices: &[EndpointSlice]) -> usize {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready) == Some(true)).count()
}

async fn pod(client: &Client, name: &str) -> Outcome<Pod> {
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": "example:1" }], "terminationGracePeriodSeconds": 0 },
    });
    create(client, pod).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_and_go_and_so_does_the_service() {
    let outcome = with(async |client| {
        create::<Service>(
            &client,
            json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }),
        )
        .await?;
        let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
        let endpoints: Api<Endpoints> = Api::default_namespaced(client.clone());
        until_all(&slices, OWN, |slices| slices.len() == 1).await?;
        pod(&client, "one").await?;
        pod(&client, "two").await?;
        until_all(&slices, OWN, |slices| ready(slices) == 2).await?;
        let addresses = |it: &Endpoints| {
            it.subsets.iter().flatten().map(|it| it.addresses.as_ref().map_or(0, Vec::len)).sum::<usize>()
        };
        until(&endpoints, "web", |it| addresses(it) == 2).await?;
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        pods.delete("one", &DeleteParams::default()).await?;
        let left = until_all(&slices, OWN, |slices| ready(slices) == 1).await?;
        assert_eq!(left.len(), 1, "one slice is enough");
        until(&endpoints, "web", |it| addresses(it) == 1).await?;
        Api::<Service>::default_namespaced(client.clone()).delete("web", &DeleteParams::default()).await?;
        until_all(&slices, OWN, <[_]>::is_empty).await?;
        until_all(&endpoints, "", |all| all.iter().all(|it| it.metadata.name.as_deref() != Some("web")))
            .await?;
        Ok(())
    });
    outcome.await.expect("endpoints follow the pods");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_endpoints_are_mirrored() {
    let outcome = with(async |client| {
        create::<Service>(
            &client,
            json!({ "metadata": { "name": "db" }, "spec": { "ports": [{ "port": 80 }] } }),
        )
        .await?;
        let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
        create::<Endpoints>(
            &client,
            json!({ "metadata": { "name": "db" }, "subsets": [{ "addresses": [{ "ip": "10.1.2.3" }], "ports": [{ "port": 80 }] }] }),
        )
        .await?;
        let of_db = "kubernetes.io/service-name=db";
        until_all(&slices, of_db, |slices| ready(slices) == 1).await?;
        Api::<Endpoints>::default_namespaced(client.clone()).delete("db", &DeleteParams::default()).await?;
        until_all(&slices, of_db, <[_]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("endpoints are mirrored");
}
