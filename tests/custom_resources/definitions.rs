//! What becomes of objects when their definition changes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{Outcome, boats::define, with};

fn crd(versions: Value) -> Outcome<CustomResourceDefinition> {
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "ships.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "ships", "kind": "Ship", "singular": "ship", "listKind": "ShipList" },
            "versions": versions,
        },
    });
    Ok(serde_json::from_value(crd)?)
}

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    let schema = json!({ "type": "object", "properties": { "spec": spec } });
    json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": schema } })
}

fn ships(client: &Client, version: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("example.com", version, "Ship");
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, "ships"))
}

fn ship(name: &str, version: &str, spec: Value) -> Outcome<DynamicObject> {
    let metadata = json!({ "name": name });
    let api_version = format!("example.com/{version}");
    let tree = json!({ "apiVersion": api_version, "kind": "Ship", "metadata": metadata, "spec": spec });
    Ok(serde_json::from_value(tree)?)
}

#[tokio::test]
async fn a_schema_follows_at_once() -> Outcome {
    with(async |client| {
        let text = |max: i64| json!({ "type": "object", "properties": { "a": { "type": "string", "maxLength": max } } });
        define(&client, &crd(json!([version("v1", true, &text(9))]))?).await?;
        let api = ships(&client, "v1");
        api.create(&PostParams::default(), &ship("x", "v1", json!({ "a": "long text", "b": 1 }))?).await?;
        let mut tight = text(3);
        tight["properties"]["b"] = json!({ "type": "integer", "default": 7 });
        define(&client, &crd(json!([version("v1", true, &tight)]))?).await?;
        // What is stored stays readable, with the defaults of today.
        assert_eq!(api.get("x").await?.data["spec"], json!({ "a": "long text", "b": 7 }));
        // What an update leaves alone is not held against it.
        let other = Patch::Merge(json!({ "spec": { "b": 8 } }));
        assert_eq!(api.patch("x", &PatchParams::default(), &other).await?.data["spec"]["b"], 8);
        let refused = api.create(&PostParams::default(), &ship("y", "v1", json!({ "a": "long text" }))?).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 422));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn versions_come_and_go() -> Outcome {
    with(async |client| {
        let free = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let strict = json!({ "type": "object", "properties": { "a": { "type": "string", "default": "d" } } });
        define(&client, &crd(json!([version("v1alpha1", true, &free)]))?).await?;
        let old = ships(&client, "v1alpha1");
        old.create(&PostParams::default(), &ship("x", "v1alpha1", json!({ "b": 1 }))?).await?;
        let both = json!([version("v1alpha1", false, &free), version("v1", true, &strict)]);
        define(&client, &crd(both)?).await?;
        let new = ships(&client, "v1");
        let read = new.get("x").await?;
        assert_eq!(read.types.as_ref().map(|it| it.api_version.as_str()), Some("example.com/v1"));
        assert_eq!(read.data["spec"], json!({ "a": "d" }));
        let listed = new.list(&kube::api::ListParams::default()).await?;
        assert_eq!(listed.items[0].data["spec"], json!({ "a": "d" }));
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        let stored = crds.get("ships.example.com").await?.status.and_then(|it| it.stored_versions);
        assert_eq!(stored, Some(vec!["v1alpha1".to_owned(), "v1".to_owned()]));
        let mut hidden = json!([version("v1alpha1", false, &free), version("v1", true, &strict)]);
        hidden[0]["served"] = false.into();
        define(&client, &crd(hidden)?).await?;
        assert!(matches!(old.get("x").await, Err(kube::Error::Api(status)) if status.code == 404));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn openapi_follows() -> Outcome {
    with(async |client| {
        let document = async |path: &str| -> Outcome<Value> {
            let request = http::Request::get(path).body(Vec::new())?;
            Ok(client.request::<Value>(request).await?)
        };
        let spec = |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } } });
        let at = "/components/schemas/com.example.v1.Ship/properties/spec/properties";
        for name in ["a", "b"] {
            define(&client, &crd(json!([version("v1", true, &spec(name))]))?).await?;
            let made = document("/openapi/v3/apis/example.com/v1").await?;
            assert_eq!(made.pointer(at), Some(&json!({ name: { "type": "string" } })));
        }
        let made = document("/openapi/v2").await?;
        assert!(made["definitions"]["com.example.v1.ShipList"].is_object());
        Ok(())
    })
    .await
}
