//! What nobody owns any more goes.

use k8s_openapi::{
    api::core::v1::{ConfigMap, Event, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

fn named(name: &str, owners: &[Value]) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": "garbage"}, "ownerReferences": owners}})
}

fn owner(map: &ConfigMap, blocks: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": map.name_any(), "uid": map.uid().unwrap_or_default(),
           "blockOwnerDeletion": blocks})
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

async fn left(client: &Client, names: &[&str]) -> Outcome<Vec<ConfigMap>> {
    until_all(&maps(client), "test=garbage", |maps| {
        maps.iter().map(ResourceExt::name_any).collect::<Vec<_>>() == names
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_go_or_stay_as_is_asked() {
    let outcome = with(async |client| {
        for (params, remaining) in [
            (DeleteParams::background(), &[][..]),
            (DeleteParams::foreground(), &[]),
            (DeleteParams::orphan(), &["child-0", "child-1"]),
        ] {
            let parent: ConfigMap = create(&client, named("parent", &[])).await?;
            for n in 0..2 {
                create::<ConfigMap>(&client, named(&format!("child-{n}"), &[owner(&parent, true)])).await?;
            }
            maps(&client).delete("parent", &params).await?;
            let left = left(&client, remaining).await?;
            assert!(left.iter().all(|map| map.owner_references().is_empty()), "{left:?}");
        }
        Ok(())
    });
    outcome.await.expect("dependents go or stay as is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_goes_and_so_do_many() {
    let outcome = with(async |client| {
        let first: ConfigMap = create(&client, named("a", &[])).await?;
        let second: ConfigMap = create(&client, named("b", &[owner(&first, true)])).await?;
        let mut closed = maps(&client).get("a").await?;
        closed.metadata.owner_references = Some(vec![serde_json::from_value(owner(&second, true))?]);
        maps(&client).replace("a", &PostParams::default(), &closed).await?;
        maps(&client).delete("b", &DeleteParams::foreground()).await?;
        left(&client, &[]).await?;

        let parent: ConfigMap = create(&client, named("parent", &[])).await?;
        for n in 0..500 {
            create::<ConfigMap>(&client, named(&format!("child-{n}"), &[owner(&parent, true)])).await?;
        }
        maps(&client).delete("parent", &DeleteParams::foreground()).await?;
        left(&client, &[]).await?;
        Ok(())
    });
    outcome.await.expect("a circle goes and so do many");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_cannot_be() {
    let outcome = with(async |client| {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let elsewhere: Namespace = serde_json::from_value(json!({"metadata": {"name": "elsewhere"}}))?;
        namespaces.create(&PostParams::default(), &elsewhere).await?;
        let there: Api<ConfigMap> = Api::namespaced(client.clone(), "elsewhere");
        let far = there.create(&PostParams::default(), &serde_json::from_value(named("far", &[]))?).await?;
        // In another namespace, never there, another of that name, and one of the two.
        let near: ConfigMap = create(&client, named("near", &[])).await?;
        let absent = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
        create::<ConfigMap>(&client, named("abroad", &[owner(&far, false)])).await?;
        create::<ConfigMap>(&client, named("stray", &[absent("nobody", "u-1")])).await?;
        create::<ConfigMap>(&client, named("mistaken", &[absent("near", "u-2")])).await?;
        create::<ConfigMap>(&client, named("half", &[absent("nobody", "u-3"), owner(&near, false)])).await?;
        left(&client, &["half", "near"]).await?;
        until(&maps(&client), "half", |half| half.owner_references().len() == 1).await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        until_all(&events, "", |events| {
            events.iter().any(|event| {
                event.reason.as_deref() == Some("OwnerRefInvalidNamespace")
                    && event.involved_object.name.as_deref() == Some("abroad")
            })
        })
        .await?;
        Ok(())
    });
    outcome.await.expect("owners that cannot be");
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_own_and_go_with_their_definition() {
    let outcome = with(async |client| {
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let definition = json!({
            "metadata": {"name": "boats.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            },
        });
        definitions.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
        until(&definitions, "boats.example.com", |definition| {
            let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Established" && c.status == "True")
        })
        .await?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Boat"));
        let boats: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        let mut owners = Vec::new();
        for name in ["ark", "raft"] {
            let boat = DynamicObject::new(name, &resource);
            let boat = boats.create(&PostParams::default(), &boat).await?;
            let reference =
                json!({"apiVersion": "example.com/v1", "kind": "Boat", "name": name, "uid": boat.uid()});
            create::<ConfigMap>(&client, named(name, std::slice::from_ref(&reference))).await?;
            owners.push(reference);
        }
        boats.delete("raft", &DeleteParams::default()).await?;
        left(&client, &["ark"]).await?;
        definitions.delete("boats.example.com", &DeleteParams::default()).await?;
        left(&client, &[]).await?;
        Ok(())
    });
    outcome.await.expect("custom resources own and go with their definition");
}
