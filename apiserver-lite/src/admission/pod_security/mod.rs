//! The Pod Security Standards: what the labels of a namespace demand of its
//! pods. Pods are refused by `enforce`; `warn` warns of pods and of the
//! templates of workloads.

mod baseline;
mod pod;
mod policy;
mod restricted;

use std::collections::{BTreeMap, HashSet};

use coracle_api::Object;
use serde_json::Value;

use self::{
    pod::Pod,
    policy::{Demand, Level, Policy},
};
use super::{Attributes, Operation};
use crate::{
    error::{ApiError, Subject},
    registry::lookup,
    resources::{
        Part,
        tree::{at, field, list, section, set, text},
    },
};

// Of a namespace with more pods, no more are looked at when its labels change.
const MOST_PODS: usize = 3000;
// Where workloads have their template.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("", "podtemplates", &["template"]),
    ("", "replicationcontrollers", &["spec", "template"]),
    ("apps", "daemonsets", &["spec", "template"]),
    ("apps", "deployments", &["spec", "template"]),
    ("apps", "replicasets", &["spec", "template"]),
    ("apps", "statefulsets", &["spec", "template"]),
    ("batch", "cronjobs", &["spec", "jobTemplate", "spec", "template"]),
    ("batch", "jobs", &["spec", "template"]),
];

/// Refuses pods and bad labels; returns warnings.
///
/// # Errors
/// 403 for a pod, 422 for the labels of a namespace.
pub async fn validate(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<Vec<String>, ApiError> {
    if attributes.is_core("pods") {
        return of_pod(attributes, new, old).await;
    }
    if attributes.part != Part::Whole || attributes.operation == Operation::Delete {
        return Ok(Vec::new());
    }
    if attributes.is_core("namespaces") {
        return of_namespace(attributes, new, old).await;
    }
    let Some((_, _, path)) = TEMPLATES.iter().find(|(group, plural, _)| attributes.is(group, plural)) else {
        return Ok(Vec::new());
    };
    let Some(policy) = demanded(attributes).await? else { return Ok(Vec::new()) };
    let template = field(new, path);
    if !set(template) {
        return Ok(Vec::new());
    }
    Ok(policy.warn.violated_by(&Pod::of(template)).map(|it| it.warning()).into_iter().collect())
}

async fn of_pod(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<Vec<String>, ApiError> {
    if !matches!(attributes.part, Part::Whole | Part::Other("ephemeralcontainers" | "resize")) {
        return Ok(Vec::new());
    }
    if old.is_some_and(|old| !significant(section(new, "spec"), section(old, "spec"))) {
        return Ok(Vec::new());
    }
    let Some(policy) = demanded(attributes).await? else { return Ok(Vec::new()) };
    let tree = Value::Object(new.0.clone());
    let pod = Pod::of(&tree);
    if let Some(violation) = policy.enforce.violated_by(&pod) {
        return Err(attributes.forbid(new, violation.refusal()));
    }
    Ok(policy.warn.violated_by(&pod).map(|it| it.warning()).into_iter().collect())
}

// The policy of the namespace, where it demands anything.
async fn demanded(attributes: &Attributes<'_>) -> Result<Option<Policy>, ApiError> {
    let namespace = attributes.target.namespace.as_str();
    let Some(namespace) = lookup::object(attributes.registry, ("", "namespaces"), "", namespace).await?
    else {
        return Ok(None);
    };
    let (policy, _) = Policy::of(&namespace);
    let privileged = policy.enforce.level == Level::Privileged && policy.warn.level == Level::Privileged;
    Ok((!privileged).then_some(policy))
}

// Of what can change in a pod, only containers and their images count.
fn significant(new: &Value, old: &Value) -> bool {
    for place in ["containers", "initContainers"] {
        let (new, old) = (list(&new[place]), list(&old[place]));
        if new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"]) {
            return true;
        }
    }
    let old = list(&old["ephemeralContainers"]);
    list(&new["ephemeralContainers"]).iter().any(|container| {
        let same = old.iter().find(|it| it["name"] == container["name"]);
        same.is_none_or(|same| same["image"] != container["image"])
    })
}

async fn of_namespace(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<Vec<String>, ApiError> {
    let (policy, errors) = Policy::of(new);
    let before = old.map(Policy::of);
    let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        let subject = Subject::kind_of(&attributes.target.row.facts, new.name());
        return Err(ApiError::Invalid { subject, errors });
    }
    let Some((before, _)) = before else { return Ok(Vec::new()) };
    let (wanted, had) = (policy.enforce, before.enforce);
    let relaxed = wanted.version == had.version && wanted.level <= had.level;
    if wanted == had || wanted.level == Level::Privileged || relaxed {
        return Ok(Vec::new());
    }
    let pods = lookup::objects(attributes.registry, ("", "pods"), new.name(), "").await?;
    Ok(existing(new.name(), wanted, pods))
}

// Warns of the pods that are there and would not be let in any more, one
// warning for all that violate the same.
fn existing(namespace: &str, wanted: Demand, pods: Vec<Object>) -> Vec<String> {
    let total = pods.len();
    let mut seen = HashSet::new();
    // Pods of one owner are alike: one of each comes first.
    let (mut ordered, alike): (Vec<Object>, Vec<Object>) = pods.into_iter().partition(|pod| {
        let owners = list(field(pod, &["metadata", "ownerReferences"]));
        let owner = owners.iter().find(|owner| owner["controller"] == true);
        owner.is_none_or(|owner| seen.insert(text(at(owner, &["uid"])).to_owned()))
    });
    ordered.extend(alike);
    ordered.truncate(MOST_PODS);
    let checked = ordered.len();
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in ordered {
        let name = pod.name().to_owned();
        let tree = pod.into_value();
        let Some(violation) = wanted.violated_by(&Pod::of(&tree)) else { continue };
        let (first, count) = found.entry(violation.reasons()).or_insert_with(|| (name.clone(), 0));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{wanted}\""
        ));
    }
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    texts.sort();
    warnings.extend(texts);
    warnings
}
