use std::{sync::Arc, time::Duration};

use coracle_controllers::framework::{Change, Clock};
use coracle_crds::stage::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Course, Record, Stage, Stages, changes, keeper};

fn written(name: &str, spec: Value) -> coracle_crds::Stage {
    let mut whole = json!({"resourceRef": {"kind": "Pod"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "generation": 2}, "spec": whole}))
        .unwrap()
}

pub(super) fn stage(name: &str, spec: Value) -> Stage {
    Stage::compile(name, 1, &written(name, spec).spec, Arc::new(Record::default())).unwrap()
}

fn pod(value: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "a", "uid": "u", "resourceVersion": "5"}});
    for (key, value) in value.as_object().unwrap() {
        match pod[key].as_object_mut() {
            Some(fields) => fields.extend(value.as_object().unwrap().clone()),
            None => pod[key] = value.clone(),
        }
    }
    serde_json::from_value(pod).unwrap()
}

fn with(list: &[(&str, Value)]) -> Stages {
    let stages = Stages::none(Clock::system());
    for (name, spec) in list {
        stages.see(&Change { before: None, after: Some(&Arc::new(written(name, spec.clone()))) });
    }
    stages
}

#[test]
fn selectors() {
    let running = pod(
        json!({"metadata": {"labels": {"a": "b"}, "annotations": {"w": "7"}}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let going = pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let check = |pod: &Pod, selector: Value, expected: bool| {
        let stages = with(&[("s", json!({"selector": selector}))]);
        let course = stages.course(Kind::Pod, pod, Vec::new);
        assert_eq!(matches!(course, Course::Play(_)), expected, "{selector}: {course:?}");
    };
    let key = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let cel = |text: &str| json!({"matchExpressions": [{"cel": {"expression": text}}]});
    check(&running, json!({}), true);
    check(&running, json!({"matchLabels": {"a": "b"}}), true);
    check(&running, json!({"matchLabels": {"a": "c"}}), false);
    check(&running, json!({"matchAnnotations": {"w": "7"}}), true);
    check(&running, key(".status.phase", "In", json!(["Running"])), true);
    check(&running, key(".status.phase", "NotIn", json!(["Running"])), false);
    check(&running, key(".metadata.deletionTimestamp", "DoesNotExist", json!([])), true);
    check(&running, key(".status.podIP", "Exists", json!([])), false);
    check(
        &running,
        key(".status.conditions.[] | select( .type == \"Ready\" ) | .status", "In", json!(["True"])),
        true,
    );
    check(
        &running,
        cel("self.status.phase == 'Running' && self.status.conditions.exists(c, c.type == 'Ready')"),
        true,
    );
    // A field that is not there, and an expression that is not true or false.
    check(&running, cel("self.status.podIP == ''"), false);
    check(&running, cel("self.status.phase"), false);
    // Only a Stage that speaks of deletion is for what goes.
    check(&going, json!({}), false);
    check(&going, cel("has(self.metadata.deletionTimestamp)"), true);
    check(&running, cel("has(self.metadata.deletionTimestamp)"), false);
    // A Stage without a selector is for nothing.
    let stages = with(&[("s", json!({}))]);
    assert!(matches!(stages.course(Kind::Pod, &running, Vec::new), Course::Free));
}

#[test]
fn an_object_waits_from_when_its_stage_was_drawn() {
    let stages = with(&[
        ("slow", json!({"selector": {}, "weight": 1, "delay": {"durationMilliseconds": 60_000}})),
        ("never", json!({"selector": {}, "weight": 0})),
        ("nodes", json!({"resourceRef": {"kind": "Node"}, "selector": {}})),
    ]);
    let course = stages.course(Kind::Pod, &pod(json!({})), Vec::new);
    let Course::Wait(Some(wait)) = course else { panic!("{course:?}") };
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60));
    // A change of the object does not begin it anew.
    let changed = pod(json!({"metadata": {"labels": {"x": "y"}}}));
    let Course::Wait(Some(later)) = stages.course(Kind::Pod, &changed, Vec::new) else { panic!() };
    assert!(later <= wait);
    assert_eq!((stages.waiting("slow"), stages.waiting("never")), (1, 0));
    // What was played is not played again for what was there before.
    let stage = stage("slow", json!({"selector": {}}));
    stages.played(&stage, "u", 9);
    assert!(matches!(stages.course(Kind::Pod, &changed, Vec::new), Course::Wait(None)));
    stages.forget("u");
    assert!(matches!(stages.course(Kind::Pod, &changed, Vec::new), Course::Wait(Some(_))));
}

#[test]
fn delays() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let object =
        json!({"metadata": {"annotations": {"delay": "2s", "bad": "soon"}}, "at": "2026-01-01T00:00:03Z"});
    let check = |delay: Value, least: u64, most: u64| {
        let scope = super::Scope::new(&object, now, Vec::new());
        let found = stage("s", json!({"selector": {}, "delay": delay})).delay(&scope);
        assert_eq!(found, (Duration::from_millis(least), Duration::from_millis(most)), "{delay}");
    };
    check(json!({}), 0, 0);
    check(json!({"durationMilliseconds": 5}), 5, 5);
    check(json!({"durationMilliseconds": 5, "jitterDurationMilliseconds": 9}), 5, 9);
    check(json!({"durationMilliseconds": 5, "jitterDurationMilliseconds": 3}), 3, 3);
    check(
        json!({"durationMilliseconds": 5, "durationFrom": {"expressionFrom": ".metadata.annotations.delay"}}),
        2000,
        2000,
    );
    check(
        json!({"durationMilliseconds": 5, "durationFrom": {"expressionFrom": ".metadata.annotations.bad"}}),
        5,
        5,
    );
    check(
        json!({"durationMilliseconds": 5, "durationFrom": {"expressionFrom": ".metadata.annotations.none"}}),
        5,
        5,
    );
    check(json!({"durationFrom": {"cel": {"expression": "self.at"}}}), 3000, 3000);
    check(json!({"durationFrom": {"cel": {"expression": "duration('1m')"}}}), 60_000, 60_000);
    check(json!({"durationFrom": {"cel": {"expression": "duration('10000h')"}}}), 604_800_000, 604_800_000);
    check(json!({"durationFrom": {"cel": {"expression": "duration('-1m')"}}}), 0, 0);
}

#[test]
fn what_is_sent() {
    let object =
        pod(json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"containers": [{"name": "c"}]}}));
    let check = |next: Value, expected: Value| {
        let stage = stage("s", json!({"selector": {}, "next": next}));
        let sent = changes(&stage, &object, Timestamp::UNIX_EPOCH, Vec::new()).unwrap();
        let sent: Value = sent.iter().map(|it| json!([it.status, it.type_, it.body])).collect();
        assert_eq!(sent, expected, "{next}");
    };
    check(json!({}), json!([]));
    check(
        json!({"statusTemplate": "phase: Failed"}),
        json!([[true, "strategic", {"status": {"phase": "Failed"}}]]),
    );
    check(
        json!({"patches": [{"root": "metadata", "template": "{labels: {name: '${self.metadata.name}'}}", "type": "merge"}]}),
        json!([[false, "merge", {"metadata": {"labels": {"name": "p"}}}]]),
    );
    check(
        json!({"patches": [{"root": "metadata", "type": "json", "template": "[{op: add, path: /labels, value: {}}]"}]}),
        json!([[false, "json", [{"op": "add", "path": "/metadata/labels", "value": {}}]]]),
    );
    let whole =
        |list: Value| json!([[false, "merge", {"metadata": {"finalizers": list, "resourceVersion": "5"}}]]);
    check(json!({"finalizers": {"add": [{"value": "c"}, {"value": "a"}]}}), whole(json!(["a", "b", "c"])));
    check(json!({"finalizers": {"remove": [{"value": "a"}]}}), whole(json!(["b"])));
    check(json!({"finalizers": {"empty": true, "add": [{"value": "d"}]}}), whole(json!(["d"])));
    check(json!({"finalizers": {"remove": [{"value": "x"}]}}), json!([]));
    // Nothing is patched that is deleted, but it may have to be let go.
    check(
        json!({"delete": true, "statusTemplate": "phase: Failed", "finalizers": {"empty": true}}),
        whole(json!([])),
    );
}

#[test]
fn status_tells_what_is_wrong() {
    let check = |spec: Value, trouble: Option<&str>, expected: [(&str, &str); 2]| {
        let record = Record::default();
        *record.trouble.lock() = trouble.map(str::to_owned);
        let status = keeper::status(&written("s", spec.clone()), &record, 3, Timestamp::UNIX_EPOCH).unwrap();
        let told: Vec<(&str, &str)> =
            status.conditions.iter().map(|it| (it.status.as_str(), it.reason.as_str())).collect();
        assert_eq!(told, expected, "{spec}: {:?}", status.conditions);
        assert_eq!((status.waiting, status.observed_generation), (3, Some(2)));
    };
    let well = ("True", "Succeeded");
    check(json!({"selector": {}}), None, [("True", "Accepted"), well]);
    check(json!({}), None, [("True", "SelectsNothing"), well]);
    check(
        json!({"selector": {"matchExpressions": [{"cel": {"expression": "self."}}]}}),
        None,
        [("False", "InvalidExpression"), well],
    );
    check(
        json!({"selector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}),
        None,
        [("False", "InvalidExpression"), well],
    );
    check(json!({"next": {"statusTemplate": "a: '${'"}}), None, [("False", "InvalidExpression"), well]);
    check(json!({"weightFrom": {"cel": {"expression": "("}}}), None, [("False", "InvalidExpression"), well]);
    check(json!({"selector": {}}), Some("no"), [("True", "Accepted"), ("False", "Failed")]);
}
