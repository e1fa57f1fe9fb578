use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{api::PropagationPolicy, core::ApiResource};
use serde_json::{Value, json};

use super::{
    Kind, Work,
    graph::{Graph, Outcome},
    plan::{Owner, Plan, plan},
};

fn kind(name: &str, namespaced: bool) -> Arc<Kind> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: name.into(),
        plural: format!("{}s", name.to_lowercase()),
    };
    Arc::new(Kind { resource, namespaced })
}

/// An object: its name is its uid; `owners` are uids, `!` marks one that it holds up.
fn meta(name: &str, owners: &[&str], change: Value) -> ObjectMeta {
    let references: Vec<Value> = owners
        .iter()
        .map(|owner| {
            let uid = owner.trim_end_matches('!');
            json!({"apiVersion": "v1", "kind": "Thing", "name": uid, "uid": uid, "blockOwnerDeletion": owner.ends_with('!')})
        })
        .collect();
    let mut value = json!({"name": name, "namespace": "a", "uid": name, "ownerReferences": references});
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn told(outcome: Outcome) -> Vec<String> {
    let mut work = outcome.work;
    work.sort();
    work.dedup();
    work.into_iter()
        .map(|work| match work {
            Work::Delete(uid) => uid,
            Work::Orphan(uid) => format!("orphan {uid}"),
        })
        .collect()
}

fn ending(finalizer: &str) -> Value {
    json!({"deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": [finalizer]})
}

#[test]
fn changes_lead_to_looks() {
    let thing = kind("Thing", true);
    let mut graph = Graph::default();
    let none = || json!({});
    let mut check = |act: &str, name: &str, owners: &[&str], change: Value, expected: &[&str]| {
        let work = match act {
            "set" => graph.set(&thing, &meta(name, owners, change)),
            _ => graph.remove(name),
        };
        assert_eq!(told(work), expected, "{act} {name} {owners:?}");
    };
    check("set", "owner", &[], none(), &[]);
    check("set", "child", &["owner!"], none(), &[]);
    check("set", "stray", &["nobody"], none(), &["stray"]);
    check("set", "stray", &["nobody"], none(), &[]);
    check("set", "stray", &["nobody", "missing"], none(), &["stray"]);
    // The owner's uid under another name or kind is another owner.
    check(
        "set",
        "liar",
        &[],
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Other", "name": "owner", "uid": "owner"}]}),
        &["liar"],
    );
    check("set", "far", &["owner"], json!({"namespace": "b"}), &["far"]);
    // In the foreground: dependents and owner are looked at, and again when one lets go.
    check("set", "owner", &[], ending("foregroundDeletion"), &["child", "far", "liar", "owner"]);
    check("set", "owner", &[], ending("foregroundDeletion"), &[]);
    check("set", "late", &["owner"], none(), &["late"]);
    check("set", "child", &["owner"], none(), &["child", "owner"]);
    // Nobody holds it up any more: who goes now is no news to it.
    check("set", "mute", &["owner"], none(), &["mute"]);
    check("remove", "mute", &["owner"], none(), &[]);
    check("remove", "owner", &[], none(), &["child", "far", "late", "liar"]);
    check("remove", "owner", &[], none(), &[]);
    check("set", "giver", &[], ending("orphan"), &["orphan giver"]);
}

#[test]
fn an_object_and_its_owners() {
    let thing = kind("Thing", true);
    let mut graph = Graph::default();
    graph.set(&thing, &meta("child", &["owner"], json!({})));
    assert!(graph.with_owners("child").is_some_and(|(_, owned)| !owned));
    graph.set(&thing, &meta("owner", &[], json!({})));
    assert!(graph.with_owners("child").is_some_and(|(_, owned)| owned));
    graph.set(&thing, &meta("owner", &[], ending("foregroundDeletion")));
    assert!(graph.with_owners("child").is_some_and(|(_, owned)| !owned));
    assert_eq!(graph.dependents("owner").count(), 1);
}

#[test]
fn an_owner_is_told_when_the_last_lets_go() {
    let thing = kind("Thing", true);
    let mut graph = Graph::default();
    graph.set(&thing, &meta("owner", &[], ending("foregroundDeletion")));
    for name in ["a", "b", "c"] {
        graph.set(&thing, &meta(name, &["owner!"], json!({})));
    }
    assert_eq!(told(graph.remove("a")), [""; 0]);
    assert_eq!(told(graph.set(&thing, &meta("b", &["owner"], json!({})))), ["b"]);
    assert_eq!(told(graph.remove("c")), ["owner"]);
    // Who had dependents is remembered as gone; a kind that is not served says nothing.
    assert_eq!(graph.remove("owner").gone.len(), 1);
    graph.set(&thing, &meta("parent", &[], json!({})));
    graph.set(&thing, &meta("child", &["parent"], json!({})));
    assert!(graph.forget(&thing).gone.is_empty());
}

#[test]
fn a_new_list_shows_what_is_gone() {
    let (thing, other) = (kind("Thing", true), kind("Other", true));
    let mut graph = Graph::default();
    graph.set(&thing, &meta("owner", &[], json!({})));
    graph.set(&other, &meta("child", &["owner"], json!({})));
    assert_eq!(told(graph.replace(&thing, &[meta("new", &[], json!({}))])), ["child"]);
    assert!(graph.get("owner").is_none() && graph.get("new").is_some());
}

#[test]
fn objects_stay_lose_owners_or_go() {
    let check = |owners: &[Owner], dependents: &[bool], finalizers: &[&str], expected: &str| {
        let names: Vec<String> = (0..owners.len()).map(|n| format!("o{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let live = meta("it", &names, json!({"finalizers": finalizers}));
        let told = match plan(&live, owners, dependents) {
            Plan::Keep => "keep".to_owned(),
            Plan::Disown(kept) => {
                let kept: Vec<String> = kept.into_iter().map(|OwnerReference { uid, .. }| uid).collect();
                format!("only {}", kept.join(" "))
            }
            Plan::Delete { policy, unblock } => {
                let policy = match policy {
                    PropagationPolicy::Orphan => "orphan",
                    PropagationPolicy::Foreground => "foreground",
                    PropagationPolicy::Background => "background",
                };
                format!("{policy}{}", if unblock { " unblocked" } else { "" })
            }
        };
        assert_eq!(told, expected, "{owners:?} {dependents:?} {finalizers:?}");
    };
    use Owner::{Absent, Present, Waiting};
    check(&[], &[], &[], "keep");
    check(&[Present], &[], &[], "keep");
    check(&[Present, Absent], &[], &[], "only o0");
    check(&[Waiting, Present], &[false], &[], "only o1");
    check(&[Absent], &[], &[], "background");
    check(&[Absent], &[false], &["orphan"], "orphan");
    check(&[Absent], &[], &["foregroundDeletion"], "foreground");
    check(&[Waiting], &[], &[], "background");
    check(&[Waiting, Absent], &[false], &[], "foreground");
    check(&[Waiting], &[false, true], &[], "foreground unblocked");
}
