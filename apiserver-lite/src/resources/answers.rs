//! Answers of the real API server to creates, recorded, and ours beside them:
//! the errors of bad objects, and what becomes of good ones.

use serde_json::{Map, Value};

use super::{Part, builtins, recorded};

// What the server and not the kind sets.
const SYSTEM: [&str; 4] = ["uid", "creationTimestamp", "resourceVersion", "managedFields"];

// Times differ between the recording and now; empty values are left out.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .iter()
                .map(|(name, value)| {
                    let time = name.ends_with("TransitionTime") || name == "timeAdded";
                    (name.clone(), if time { "time".into() } else { comparable(value) })
                })
                .filter(|(name, value)| !SYSTEM.contains(&name.as_str()) && !empty(value))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(comparable).collect(),
        other => other.clone(),
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_i64() == Some(0),
    }
}

fn check(case: &Value) -> Result<(), String> {
    let object = &case["object"];
    let kind = object["kind"].as_str().unwrap();
    let version = object["apiVersion"].as_str().unwrap();
    let rows = builtins();
    let row =
        rows.iter().find(|row| row.facts.gvk.kind == kind && row.facts.api_version() == version).unwrap();
    let (mut ours, _, errors) = recorded::written(&*row.strategy, Part::Whole, object, None);
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let mut theirs: Vec<String> =
        case["errors"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()).collect();
    // Upstream has the errors of generated rules last, whatever their field.
    texts.sort();
    theirs.sort();
    theirs.dedup();
    if texts != theirs {
        let only = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|it| !b.contains(it)).cloned().collect()
        };
        return Err(format!(
            "{kind}\n  ours: {:#?}\n  theirs: {:#?}",
            only(&texts, &theirs),
            only(&theirs, &texts)
        ));
    }
    row.strategy.from_storage(&mut ours, version);
    let ours = comparable(&ours.into_value());
    if case.get("answer").is_some_and(|answer| comparable(answer) != ours) {
        return Err(format!("{kind}\n  ours:   {ours}\n  theirs: {}", comparable(&case["answer"])));
    }
    Ok(())
}

#[test]
fn creates_are_answered_as_recorded() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("answers.json")).unwrap();
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
