//! Kinds that are known at run time only, and events.

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::events::v1::Event as StoredEvent;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Discovery, Scope, verbs};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt};
use serde_json::json;

use crate::{Outcome, config_map};

fn assert_known(found: &Discovery) -> Outcome {
    let deployment = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, capabilities) = found.resolve_gvk(&deployment).ok_or("no Deployment")?;
    assert_eq!(resource, ApiResource::from_gvk_with_plural(&deployment, "deployments"));
    assert_eq!(capabilities.scope, Scope::Namespaced);
    for verb in [verbs::GET, verbs::LIST, verbs::WATCH, verbs::CREATE, verbs::PATCH, verbs::DELETE_COLLECTION]
    {
        assert!(capabilities.supports_operation(verb), "{verb}");
    }
    let mut subresources: Vec<_> =
        capabilities.subresources.iter().map(|(resource, _)| resource.plural.clone()).collect();
    subresources.sort();
    assert_eq!(subresources, ["scale", "status"]);

    let node = GroupVersionKind::gvk("", "v1", "Node");
    let (_, capabilities) = found.resolve_gvk(&node).ok_or("no Node")?;
    assert_eq!(capabilities.scope, Scope::Cluster);
    assert!(found.resolve_gvk(&GroupVersionKind::gvk("example.com", "v1", "Nothing")).is_none());
    let autoscaling = found.get("autoscaling").ok_or("no autoscaling")?;
    assert_eq!(autoscaling.preferred_version(), Some("v2"));
    Ok(())
}

pub async fn discovery(client: Client, _: String) -> Outcome {
    assert_known(&Discovery::new(client.clone()).run().await?)?;
    let (pod, _) = discovery::pinned_kind(&client, &GroupVersionKind::gvk("", "v1", "Pod")).await?;
    assert_eq!(pod.plural, "pods");
    assert_eq!(client.apiserver_version().await?.minor, "37");
    Ok(())
}

pub async fn aggregated_discovery(client: Client, _: String) -> Outcome {
    assert_known(&Discovery::new(client).run_aggregated().await?)
}

pub async fn objects(client: Client, namespace: String) -> Outcome {
    let gvk = GroupVersionKind::gvk("", "v1", "ConfigMap");
    let (resource, _) = discovery::pinned_kind(&client, &gvk).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let wanted = DynamicObject::new("a", &resource).data(json!({ "data": { "value": "1" } }));
    let created = api.create(&PostParams::default(), &wanted).await?;
    assert_eq!(created.types.as_ref().map(|types| types.kind.as_str()), Some("ConfigMap"));
    assert_eq!(created.data["data"], json!({ "value": "1" }));
    let patch = Patch::Strategic(json!({ "data": { "value": "2" } }));
    api.patch("a", &PatchParams::default(), &patch).await?;
    let list = api.list(&ListParams::default().fields("metadata.name=a")).await?;
    let map: ConfigMap = list.items.into_iter().next().ok_or("an empty list")?.try_parse()?;
    assert_eq!(map.data, config_map("a", "2").data);
    Ok(())
}

// The same event again is counted, not made twice.
pub async fn recorder(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let map = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let reference: ObjectReference = map.object_ref(&());
    let reporter = Reporter { controller: "example.com/tester".to_owned(), instance: Some("one".to_owned()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let event = Event {
        type_: EventType::Normal,
        reason: "Tested".to_owned(),
        note: Some("It was tested".to_owned()),
        action: "Testing".to_owned(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&event, &reference).await?;
    }
    let stored: Api<StoredEvent> = Api::namespaced(client.clone(), &namespace);
    let list = stored.list(&ListParams::default()).await?;
    let [event] = list.items.as_slice() else { return Err(format!("{} events", list.items.len()).into()) };
    assert_eq!(event.series.as_ref().map(|series| series.count), Some(3));
    assert_eq!(event.regarding.as_ref().and_then(|it| it.uid.clone()), map.uid());
    // The same in the older group, where fields choose.
    let older: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(client, &namespace);
    let chosen = older.list(&ListParams::default().fields("involvedObject.name=a,reason=Tested")).await?;
    assert_eq!(
        chosen.items.iter().map(|it| it.message.as_deref()).collect::<Vec<_>>(),
        [Some("It was tested")]
    );
    Ok(())
}
