//! Answers of the real API server to bad objects, recorded, and ours beside
//! them. Each case is an object as a client sends it, for updates what stood
//! there before, and the errors of the answer.

use coracle_api::{FieldError, Object, Resource, facts};
use serde_json::Value;

use super::{Part, Strategy, Write, meta};
use crate::schema::decode;

/// The row of a kind.
fn facts_of(object: &Value) -> &'static Resource {
    let text = |field: &str| object[field].as_str().unwrap();
    let found = facts::RESOURCES
        .iter()
        .find(|row| row.gvk.kind == text("kind") && row.api_version() == text("apiVersion"));
    found.unwrap_or_else(|| panic!("no facts of {}", text("kind")))
}

/// An object as it is when a write begins.
pub fn decoded(strategy: &dyn Strategy, object: &Value) -> Object {
    let row = facts_of(object);
    let mut object = decode::value(object, &row.gvk, &row.schema).unwrap().object;
    strategy.default(&mut object);
    object
}

/// Writes an object as the registry does, up to validation.
pub fn written(
    strategy: &dyn Strategy,
    part: Part<'_>,
    object: &Value,
    old: Option<&Value>,
) -> (Object, Option<Object>, Vec<FieldError>) {
    let row = facts_of(object);
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let write = |part| Write {
        part,
        now,
        user: "tester",
        dry_run: true,
        api_version: object["apiVersion"].as_str().unwrap(),
    };
    let old = old.map(|old| {
        let mut old = decoded(strategy, old);
        old.set_meta("uid", Some("u".into()));
        let status = old.0.get("status").cloned();
        strategy.prepare(&write(Part::Whole), &mut old, None);
        if let Some(status) = status {
            old.section_mut("status").extend(status.as_object().cloned().unwrap());
        }
        old
    });
    let mut new = decoded(strategy, object);
    new.set_meta("uid", Some("u".into()));
    strategy.prepare(&write(part), &mut new, old.as_ref());
    let mut errors = match &old {
        None => meta::validate(&new, row.namespaced, |name, prefix| strategy.name(name, prefix)),
        Some(_) => Vec::new(),
    };
    errors.extend(meta::finalizer_names(&new));
    errors.extend(strategy.validate(&write(part), &new, old.as_ref()));
    (new, old, errors)
}

/// Compares with what was recorded.
pub fn check(strategy: &dyn Strategy, part: Part<'_>, recorded: &str) {
    let cases: Vec<Value> = serde_json::from_str(recorded).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let (_, _, errors) = written(strategy, part, &case["object"], case.get("old"));
        let mut ours: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            // Upstream answers with equal errors once.
            if !ours.contains(&text) {
                ours.push(text);
            }
        }
        let theirs: Vec<&str> =
            case["errors"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        if ours != theirs {
            let only = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter().filter(|it| !b.contains(it)).cloned().collect()
            };
            let theirs: Vec<String> = theirs.iter().map(|it| (*it).to_owned()).collect();

            wrong.push(format!(
                "{}\n  only ours: {:#?}\n  only theirs: {:#?}",
                case["object"],
                only(&ours, &theirs),
                only(&theirs, &ours)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
