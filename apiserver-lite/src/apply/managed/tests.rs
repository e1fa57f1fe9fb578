use coracle_api::facts::RESOURCES;
use serde_json::json;

use super::*;

fn resource(api_version: &str, kind: &str) -> &'static Resource {
    let found = RESOURCES.iter().find(|it| it.gvk.api_version() == api_version && it.gvk.kind == kind);
    found.expect("a built-in kind")
}

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

// Each line of the history is a write to the real kube-apiserver, and the
// object that it answered with. A create begins with nothing, each other write
// with the line before it.
#[test]
fn writes_own_what_they_own_upstream() {
    let mut old: Option<Object> = None;
    for line in include_str!("history.jsonl").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let step = line["step"].as_str().expect("a name");
        let expected = object(line["object"].clone());
        if step.starts_with("create") {
            old = None;
        }
        let time = |entry: &Value| entry["time"].as_str().map(str::to_owned);
        let managed = expected.meta("managedFields").and_then(Value::as_array);
        let now = managed.into_iter().flatten().filter_map(time).max();
        let writer = Writer {
            manager: line["manager"].as_str().expect("a manager"),
            subresource: line["subresource"].as_str().expect("a subresource"),
            now: now.map_or(Timestamp::UNIX_EPOCH, |now| now.parse().expect("a time")),
        };
        let mut new = expected.clone();
        let live = old.as_ref().and_then(|old| old.meta("managedFields"));
        new.set_meta("managedFields", line.get("sent").or(live).cloned());
        updated(resource(new.api_version(), new.kind()), old.as_ref(), &mut new, &writer);
        assert_eq!(new.meta("managedFields"), expected.meta("managedFields"), "{step}");
        old = Some(expected);
    }
}

const NOW: &str = "2026-01-02T03:04:05Z";

fn config_map(data: Value, managed: Value) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "c", "uid": "u", "managedFields": managed},
    }))
}

fn entry(manager: &str, fields: Value) -> Value {
    json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": manager,
        "operation": "Update", "time": "2026-01-01T00:00:00Z"})
}

fn written(manager: &str, subresource: &str, old: &Object, mut new: Object) -> Value {
    let writer = Writer { manager, subresource, now: NOW.parse().expect("a time") };
    let found = resource(new.api_version(), new.kind());
    updated(found, Some(old), &mut new, &writer);
    new.meta("managedFields").cloned().unwrap_or_default()
}

#[test]
fn clients_may_write_managed_fields() {
    let fields = |name: &str| json!({"f:data": {name: {}}});
    let live = json!([entry("a", fields("f:k")), entry("b", fields("f:l"))]);
    let old = config_map(json!({"k": "v", "l": "w"}), live.clone());
    #[track_caller]
    fn check(old: &Object, sent: Value, expected: Value) {
        let new = config_map(json!({"k": "v", "l": "w"}), sent.clone());
        assert_eq!(written("w", "", old, new), expected, "{sent}");
    }
    let check = |sent: Value, expected: &Value| check(&old, sent, expected.clone());
    // What does not understand managedFields does not destroy them.
    check(Value::Null, &live);
    check(json!([{"manager": "x"}]), &live);
    check(json!([entry("x", json!({"bad": {}}))]), &live);
    check(json!([]), &Value::Null);
    check(json!([{}]), &Value::Null);
    let one = json!([entry("x", fields("f:k"))]);
    check(one.clone(), &one);
    // An entry without fields goes, and one in a version that nothing has.
    let mut other = entry("y", fields("f:k"));
    other["apiVersion"] = "gone/v1".into();
    check(json!([entry("x", fields("f:k")), entry("z", json!({})), other]), &one);
}

#[test]
fn writes_to_a_subresource_do_not_write_managed_fields() {
    let live = json!([entry("a", json!({"f:data": {"f:k": {}}}))]);
    let old = config_map(json!({"k": "v"}), live.clone());
    let new = config_map(json!({"k": "v"}), json!([entry("x", json!({"f:data": {"f:k": {}}}))]));
    assert_eq!(written("w", "status", &old, new), live);
}

#[test]
fn what_a_part_resets_is_not_owned() {
    let pod = |status: &str, image: &str| {
        object(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "uid": "u", "managedFields": [entry("a", json!({"f:x": {}}))]},
            "spec": {"containers": [{"name": "c", "image": image, "resources": {}}]},
            "status": {"phase": status},
        }))
    };
    let fields = |subresource: &str| {
        let list = written("w", subresource, &pod("Pending", "i"), pod("Running", "j"));
        list.as_array()
            .expect("a list")
            .iter()
            .find(|it| it["manager"] == "w")
            .map(|it| it["fieldsV1"].clone())
    };
    let image = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}});
    assert_eq!(fields(""), Some(image.clone()));
    assert_eq!(fields("status"), Some(json!({"f:status": {"f:phase": {}}})));
    let both = json!({"f:spec": image["f:spec"], "f:status": {"f:phase": {}}});
    assert_eq!(fields("resize"), Some(both));
}

#[test]
fn elements_that_are_there_twice_have_one_owner() {
    let service = |ports: Value| {
        object(json!({
            "apiVersion": "v1", "kind": "Service", "spec": {"ports": ports},
            "metadata": {"name": "s", "uid": "u", "managedFields": [entry("a", json!({"f:x": {}}))]},
        }))
    };
    let port = |name: &str| json!({"port": 80, "protocol": "TCP", "name": name});
    #[track_caller]
    fn check(old: &Object, new: Object, expected: Value) {
        let list = written("w", "", old, new);
        let own = list.as_array().expect("a list").iter().find(|it| it["manager"] == "w");
        assert_eq!(own.map_or(Value::Null, |it| it["fieldsV1"].clone()), expected);
    }
    let at = |below: Value| json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": below}}});
    let (one, two) = (service(json!([port("a")])), service(json!([port("a"), port("b")])));
    check(&one, two.clone(), at(json!({})));
    check(&two, one, at(json!({".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}})));
    check(&two, service(json!([port("a"), port("c")])), at(json!({})));
    check(&two, two.clone(), Value::Null);
}

#[test]
fn malformed_lists_change_nothing() {
    let service = |ports: Value| {
        object(json!({
            "apiVersion": "v1", "kind": "Service", "spec": {"ports": ports},
            "metadata": {"name": "s", "uid": "u", "managedFields": [entry("a", json!({"f:x": {}}))]},
        }))
    };
    let list = written("w", "", &service(json!([])), service(json!(["x"])));
    assert_eq!(list, json!([entry("a", json!({"f:x": {}}))]));
}

#[test]
fn times_alone_are_no_change() {
    let at = |time: &str, data: &str| {
        let mut own = entry("a", json!({"f:data": {"f:k": {}}}));
        own["time"] = time.into();
        config_map(json!({"k": data}), json!([own]))
    };
    #[track_caller]
    fn check(old: &Object, mut new: Object, same: bool) {
        keep_times(&mut new, old);
        assert_eq!(new == *old, same);
    }
    let old = at("2026-01-01T00:00:00Z", "v");
    check(&old, at("2026-02-02T00:00:00Z", "v"), true);
    check(&old, at("2026-02-02T00:00:00Z", "w"), false);
    let mut other = at("2026-02-02T00:00:00Z", "v");
    other.set_meta("managedFields", Some(json!([entry("b", json!({"f:data": {"f:k": {}}}))])));
    check(&old, other, false);
}

#[test]
fn parts_of_what_has_one_owner_become_the_whole() {
    let deployment = |replicas: u32, managed: Value| {
        object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "uid": "u", "managedFields": managed},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}},
        }))
    };
    let of = |fields: Value| {
        let mut entry = entry("a", fields);
        entry["apiVersion"] = "apps/v1".into();
        json!([entry])
    };
    let parts = of(
        json!({"f:spec": {"f:selector": {"f:matchLabels": {"f:a": {}}}, "f:template": {"f:metadata": {"f:labels": {"f:a": {}}}}}}),
    );
    let list = written("w", "", &deployment(1, parts.clone()), deployment(2, parts));
    let whole =
        json!({"f:spec": {"f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:a": {}}}}}});
    assert_eq!(list[0]["fieldsV1"], whole);
}

#[test]
fn an_empty_list_reaches_us() {
    let sent =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "managedFields": []}});
    let found = resource("v1", "ConfigMap");
    let decoded = crate::schema::decode::value(&sent, &found.gvk, &found.schema).expect("a config map");
    assert_eq!(decoded.object.meta("managedFields"), Some(&json!([])));
}
