//! A pod pays the overhead of its runtime class and goes where that runs.

use coracle_api::Object;
use serde_json::{Map, Value};

use super::Attributes;
use crate::{
    error::ApiError,
    registry::lookup,
    resources::{
        core::pods::resources::amounts,
        tree::{at, entries, list, set, text},
    },
};

/// Sets overhead, node selector and tolerations.
///
/// # Errors
/// 403
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    let Some(class) = class(attributes, new).await? else { return Ok(()) };
    if let Some(overhead) = overhead(&class) {
        let own = amounts(new.get(&["spec", "overhead"]));
        if !own.is_empty() && own != amounts(Some(overhead)) {
            return Err(mismatch(attributes, new));
        }
        new.section_mut("spec").insert("overhead".to_owned(), overhead.clone());
    }
    let Some(scheduling) = class.0.get("scheduling").filter(|it| set(it)) else { return Ok(()) };
    let mut selector =
        new.get(&["spec", "nodeSelector"]).and_then(Value::as_object).cloned().unwrap_or_default();
    merge_selector(&mut selector, at(scheduling, &["nodeSelector"]))
        .map_err(|reason| attributes.forbid(new, reason))?;
    let own = list(new.get(&["spec", "tolerations"]).unwrap_or(&Value::Null));
    let tolerations = merge_tolerations(own, list(at(scheduling, &["tolerations"])));
    let spec = new.section_mut("spec");
    if !selector.is_empty() {
        spec.insert("nodeSelector".to_owned(), Value::Object(selector));
    }
    if !tolerations.is_empty() {
        spec.insert("tolerations".to_owned(), Value::Array(tolerations));
    }
    Ok(())
}

/// Refuses an overhead that is not the class's.
///
/// # Errors
/// 403
pub async fn validate(attributes: &Attributes<'_>, new: &Object) -> Result<(), ApiError> {
    if !attributes.creates() || !attributes.is_core("pods") {
        return Ok(());
    }
    let class = class(attributes, new).await?;
    let own = new.get(&["spec", "overhead"]).filter(|it| set(it));
    match class.as_ref().and_then(overhead) {
        Some(overhead) if amounts(own) != amounts(Some(overhead)) => Err(mismatch(attributes, new)),
        None if own.is_some() => {
            let reason = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(attributes.forbid(new, reason))
        }
        _ => Ok(()),
    }
}

fn mismatch(attributes: &Attributes<'_>, pod: &Object) -> ApiError {
    attributes.forbid(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

fn overhead(class: &Object) -> Option<&Value> {
    class.get(&["overhead", "podFixed"]).filter(|it| set(it))
}

// The class of a new pod that names one.
async fn class(attributes: &Attributes<'_>, pod: &Object) -> Result<Option<Object>, ApiError> {
    if !attributes.creates() || !attributes.is_core("pods") {
        return Ok(None);
    }
    let Some(Value::String(name)) = pod.get(&["spec", "runtimeClassName"]) else { return Ok(None) };
    match lookup::object(attributes.registry, ("node.k8s.io", "runtimeclasses"), "", name).await? {
        Some(class) => Ok(Some(class)),
        None => {
            let reason =
                format!("pod rejected: RuntimeClass {} not found", coracle_api::field::go_quote(name));
            Err(attributes.forbid(pod, reason))
        }
    }
}

fn merge_selector(selector: &mut Map<String, Value>, of_class: &Value) -> Result<(), String> {
    for (key, value) in entries(of_class) {
        match selector.get(key) {
            Some(own) if own != value => {
                let (own, value) = (text(own), text(value));
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                ));
            }
            _ => selector.insert(key.to_owned(), value.clone()),
        };
    }
    Ok(())
}

// Both lists, without those that another one covers.
fn merge_tolerations(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::with_capacity(all.len());
    for (index, toleration) in all.iter().enumerate() {
        let covered = merged.iter().any(|other| covers(other, toleration))
            || all.iter().skip(index + 1).any(|other| other != toleration && covers(other, toleration));
        if !covered {
            merged.push((*toleration).clone());
        }
    }
    merged
}

// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let of = |toleration: &'_ Value, name: &str| text(at(toleration, &[name])).to_owned();
    let (key, operator, effect) = (of(wide, "key"), of(wide, "operator"), of(wide, "effect"));
    if key != of(narrow, "key") && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if !effect.is_empty() && effect != of(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(limit) = wide["tolerationSeconds"].as_i64()
        && narrow["tolerationSeconds"].as_i64().is_none_or(|seconds| seconds > limit)
    {
        return false;
    }
    match operator.as_str() {
        "" | "Equal" => of(narrow, "operator") == "Equal" && of(narrow, "value") == of(wide, "value"),
        "Exists" => true,
        _ => false,
    }
}
