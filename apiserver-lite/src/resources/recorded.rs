//! Answers of the real API server to bad objects, recorded, and ours beside
//! them. Each case is an object as a client sends it, for updates what stood
//! there before, and the errors of the answer.

use coracle_api::{FieldError, Object, Resource, facts};
use serde_json::Value;

use super::{Part, Strategy, Write};
use crate::{
    authn::User,
    schema::{canonical::canonicalize, decode},
};

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
    let tester = User::authenticated("tester", &[]);
    let write = |part| Write {
        part,
        now,
        user: &tester,
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
    strategy.to_storage(&mut new);
    strategy.prepare(&write(part), &mut new, old.as_ref());
    let errors = match &old {
        None => strategy.check(&write(part), row.namespaced, &new, None),
        Some(old) => strategy.validate(&write(part), &new, Some(old)),
    };
    (new, old, errors)
}

/// Compares what becomes of good objects with what was recorded: defaults, what
/// the server sets, and warnings. `strategies` gives the kinds' strategies.
pub fn check_made(strategies: impl Fn(&str) -> Box<dyn Strategy>, recorded: &str) {
    let cases: Vec<Value> = serde_json::from_str(recorded).unwrap();
    for case in &cases {
        let sent = &case["object"];
        let strategy = strategies(sent["kind"].as_str().unwrap());
        let (mut object, _, errors) = written(&*strategy, Part::Whole, sent, None);
        assert_eq!(errors, [], "{sent}");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let api_version = sent["apiVersion"].as_str().unwrap();
        let tester = User::authenticated("tester", &[]);
        let write = Write { part: Part::Whole, now, user: &tester, dry_run: true, api_version };
        let warnings = strategy.warnings(&write, &object, None);
        let theirs: Vec<&str> =
            case["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(warnings, theirs, "{sent}");
        canonicalize(&mut object, &facts_of(sent).schema);
        for field in ["spec", "status", "template"] {
            if case.get(field).is_some() {
                assert_eq!(object.0.get(field), case.get(field), "{field} of {sent}");
            }
        }
        for field in ["labels", "annotations", "generation"] {
            assert_eq!(object.meta(field), case["metadata"].get(field), "{field} of {sent}");
        }
    }
}

/// Compares the cells of tables with what was recorded, all but ages.
pub fn check_tables(recorded: &str) {
    let cases: Vec<Value> = serde_json::from_str(recorded).unwrap();
    let rows = super::builtins();
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    for case in &cases {
        let facts = facts_of(&case["object"]);
        let row = rows.iter().find(|row| row.facts.gvk == facts.gvk).unwrap();
        let object = Object::from_value(case["object"].clone()).unwrap();
        let shown = row.columns.iter().filter(|column| column.name != "Age");
        let cells: Vec<Value> =
            shown.map(|column| serde_json::json!([column.name, column.cell.of(&object, now)])).collect();
        assert_eq!(Value::Array(cells), case["cells"], "{}", case["object"]);
    }
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
