//! Binds a pod through its `binding` subresource.

use coracle_controllers::framework::Error;
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{
    api::core::v1::{Binding, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status},
};
use kube::{Api, Client, api::PostParams};

use crate::{
    plugin::{CycleState, Plugin, Reads},
    pod::PodInfo,
};

pub(super) struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        Some(bind(client, pod, node).boxed())
    }
}

async fn bind(client: &Client, pod: &PodInfo, node: &str) -> Result<(), Error> {
    let key = pod.key();
    let binding = Binding {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".into()),
            name: Some(node.into()),
            ..ObjectReference::default()
        },
    };
    let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    let _: Status = api.create_subresource("binding", &key.name, &PostParams::default(), &binding).await?;
    Ok(())
}
