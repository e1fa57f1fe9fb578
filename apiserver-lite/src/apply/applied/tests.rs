use coracle_api::facts::RESOURCES;
use serde_json::json;

use super::*;
use crate::error::ApiError;

// The object as it is decoded, without what the write itself sets.
fn decoded(object: Value, resource: &Resource) -> Object {
    let decoded = crate::schema::decode::value(&object, &resource.gvk, &resource.schema);
    let mut object = decoded.expect("an object of the kind").object;
    for name in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
        object.set_meta(name, None);
    }
    object
}

// Upstream's causes come in no order.
fn by_field(mut status: Value) -> Value {
    if let Some(Value::Array(causes)) = status.pointer_mut("/details/causes") {
        causes.sort_by_key(|cause| cause["field"].to_string());
    }
    status
}

// Each line of the history is a request to the real kube-apiserver and its
// answer. A line `new: ...` begins with nothing, each other one with the
// object before it; other writes only make that object.
#[test]
fn configurations_apply_as_upstream() {
    let mut live: Option<Object> = None;
    for line in include_str!("history.jsonl").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let answer = &line["answer"];
        let step = text("step");
        if step.starts_with("new: ") {
            live = None;
        }
        if text("verb") == "write" {
            live = Object::from_value(answer.clone());
            continue;
        }
        let before = live.as_ref().map_or(answer["kind"].as_str().unwrap_or_default(), Object::kind);
        let resource = RESOURCES.iter().find(|it| it.gvk.kind == before).expect("a built-in kind");
        let time = |entry: &Value| entry["time"].as_str().map(str::to_owned);
        let now = answer["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(time).max();
        let writer = Writer {
            manager: text("manager"),
            subresource: text("subresource"),
            now: now.map_or(jiff::Timestamp::UNIX_EPOCH, |now| now.parse().expect("a time")),
        };
        let config = Object::from_value(line["config"].clone()).expect("an object");
        let force = line["force"] == true;
        let result = applied(resource, live.as_ref(), &config, &writer, force);
        if answer["kind"] == "Status" {
            match result {
                // Validation comes later.
                Ok(_) => assert_eq!(answer["code"], 422, "{step}"),
                Err(error) => {
                    let status = serde_json::to_value(ApiError::from(error).status()).expect("JSON");
                    assert_eq!(status["message"], answer["message"], "{step}");
                    assert_eq!(by_field(status), by_field(answer.clone()), "{step}");
                }
            }
            continue;
        }
        let object = result.unwrap_or_else(|error| panic!("{step}: {error}"));
        let managed = |object: &Value| object["metadata"]["managedFields"].clone();
        let object = object.into_value();
        assert_eq!(managed(&object), managed(answer), "{step}");
        let containers = |object: &Value| {
            let list = object.pointer("/spec/template/spec/containers").and_then(Value::as_array).cloned();
            let parts = ["name", "image", "command", "env"];
            let shown = |it: Value| parts.map(|part| it[part].clone());
            list.map(|list| list.into_iter().map(shown).collect::<Vec<_>>())
        };
        assert_eq!(containers(&object), containers(answer), "{step}");
        // Defaults are set later.
        if answer["kind"] == "ConfigMap" {
            assert_eq!(decoded(object, resource), decoded(answer.clone(), resource), "{step}");
        }
        live = Object::from_value(answer.clone());
    }
}

#[test]
fn objects_without_schema_merge_by_what_they_are() {
    use std::sync::Arc;

    use coracle_api::schema::{Ref, Struct};
    let found = RESOURCES.iter().find(|it| it.gvk.kind == "ConfigMap").expect("a kind");
    let mut resource = Resource::clone(found);
    resource.schema = Ref::Shared(Arc::new(Struct {
        name: "io.x.v1.Foo".into(),
        fields: Vec::new().into(),
        atomic: false,
        open: true,
    }));
    let object = |spec: Value| {
        Object::from_value(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "f"}, "spec": spec}),
        )
        .expect("an object")
    };
    let writer = |manager| Writer { manager, subresource: "", now: jiff::Timestamp::UNIX_EPOCH };
    let first = object(json!({"u": {"v": {"w": 1}, "l": [1]}, "n": "o"}));
    let live = applied(&resource, None, &first, &writer("a"), false).expect("it applies");
    let managed = live.meta("managedFields").cloned().expect("owners");
    assert_eq!(
        managed[0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:n": {}, "f:u": {".": {}, "f:l": {}, "f:v": {".": {}, "f:w": {}}}}})
    );
    let second = object(json!({"u": {"v": {"w": 2}}}));
    let live = applied(&resource, Some(&live), &second, &writer("a"), false).expect("it applies");
    assert_eq!(live.0["spec"], json!({"u": {"v": {"w": 2}}}));
    let refused =
        applied(&resource, Some(&live), &object(json!({"u": {"v": {"w": 3}}})), &writer("b"), false);
    let message = refused.expect_err("a conflict").to_string();
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"a\": .spec.u.v.w");
}
