//! Containers that ended stay ended, unless they are to be restarted.

use std::collections::HashMap;

use coracle_api::FieldError;
use serde_json::Value;

use crate::resources::rules::{Errors, Place};

/// Validates the states of containers in a new status.
pub fn validate(status: &Place<'_>, before: &Place<'_>, spec: &Value, errors: &mut Errors) {
    let restarts_all = restarts_all(spec);
    for (list, containers) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        if restarts_all && containers.is_some() {
            continue;
        }
        let new: HashMap<&str, &Value> =
            status.list(list).iter().filter_map(|it| Some((it["name"].as_str()?, it))).collect();
        let specs: HashMap<&str, &Value> = containers
            .and_then(|field| spec.get(field)?.as_array())
            .into_iter()
            .flatten()
            .filter_map(|it| Some((it["name"].as_str()?, it)))
            .collect();
        for (index, old) in before.list(list).iter().enumerate() {
            let Some(ended) = terminated(old) else { continue };
            let name = old["name"].as_str().unwrap_or_default();
            let runs_again = new.get(name).is_some_and(|new| terminated(new).is_none());
            let code = ended["exitCode"].as_i64().unwrap_or(0);
            let may = specs.get(name).is_some_and(|container| restarts(container, spec, code));
            if runs_again && !may {
                let path = status.path_of(list).index(index).child("state");
                let detail = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
    }
}

fn terminated(status: &Value) -> Option<&Value> {
    status.get("state")?.get("terminated").filter(|it| !it.is_null())
}

fn rules(container: &Value) -> impl Iterator<Item = &Value> {
    container.get("restartPolicyRules").and_then(Value::as_array).into_iter().flatten()
}

fn restarts_all(spec: &Value) -> bool {
    let lists = ["initContainers", "containers"].into_iter();
    let mut containers = lists.filter_map(|list| spec.get(list)?.as_array()).flatten();
    containers.any(|container| rules(container).any(|rule| rule["action"] == "RestartAllContainers"))
}

fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let of_policy = |policy: &str| match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    match container.get("restartPolicy").and_then(Value::as_str) {
        None => of_policy(spec["restartPolicy"].as_str().unwrap_or_default()),
        Some(policy) => {
            let matching = rules(container).find(|rule| matches(rule, code));
            let restarted = matching
                .is_some_and(|rule| rule["action"] == "Restart" || rule["action"] == "RestartAllContainers");
            restarted || of_policy(policy)
        }
    }
}

fn matches(rule: &Value, code: i64) -> bool {
    let Some(codes) = rule.get("exitCodes").filter(|codes| !codes.is_null()) else { return false };
    let listed = codes["values"].as_array().is_some_and(|values| values.iter().any(|it| *it == code));
    match codes["operator"].as_str() {
        Some("In") => listed,
        Some("NotIn") => !listed,
        _ => false,
    }
}
