//! What a namespace's limit ranges say of pods and claims: defaults for
//! containers that do not say what they need, and bounds for all.

mod bounds;

use std::collections::BTreeMap;

use coracle_api::Object;
use serde_json::{Map, Value};

use super::{Attributes, Operation, joined};
use crate::{
    error::ApiError,
    registry::lookup,
    resources::{
        Part,
        tree::{entries, field, list, map_mut, objects_mut, text},
    },
};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives containers their defaults.
///
/// # Errors
/// When limit ranges cannot be looked up.
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    if !concerns(attributes) || !attributes.is_core("pods") {
        return Ok(());
    }
    for range in ranges(attributes).await? {
        defaults(&range, new);
    }
    Ok(())
}

/// Refuses what is out of bounds.
///
/// # Errors
/// 403
pub async fn validate(
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    if !concerns(attributes) || old.is_some_and(Object::deleting) {
        return Ok(());
    }
    for range in ranges(attributes).await? {
        let limits = list(field(&range, &["spec", "limits"]));
        let faults = match attributes.is_core("pods") {
            true => bounds::pod(limits, new),
            false => bounds::claim(limits, new),
        };
        if !faults.is_empty() {
            return Err(attributes.forbid(new, joined(&faults)));
        }
    }
    Ok(())
}

// Containers do not change but by a resize.
fn concerns(attributes: &Attributes<'_>) -> bool {
    match (attributes.part, attributes.operation) {
        (Part::Other("resize"), Operation::Update) => attributes.is_core("pods"),
        (Part::Whole, Operation::Create) => {
            attributes.is_core("pods") || attributes.is_core("persistentvolumeclaims")
        }
        (Part::Whole, Operation::Update) => attributes.is_core("persistentvolumeclaims"),
        _ => false,
    }
}

async fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Object>, ApiError> {
    lookup::objects(attributes.registry, ("", "limitranges"), &attributes.target.namespace, "").await
}

fn defaults(range: &Object, pod: &mut Object) {
    let mut defaults: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for limit in list(field(range, &["spec", "limits"])).iter().filter(|it| it["type"] == "Container") {
        for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
            let amounts = entries(&limit[from]).map(|(name, value)| (name.to_owned(), value.clone()));
            defaults.entry(to).or_default().extend(amounts);
        }
    }
    let mut notes = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in objects_mut(pod.section_mut("spec"), field) {
            for (kind, note) in [("requests", "request"), ("limits", "limit")] {
                let Some(amounts) = defaults.get(kind) else { continue };
                let set = fill(container, kind, amounts);
                if !set.is_empty() {
                    let name = text(container.get("name").unwrap_or(&Value::Null));
                    notes.push(format!("{} {note} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        map_mut(pod.metadata_mut(), "annotations").insert(ANNOTATION.to_owned(), note.into());
    }
}

// Sets the amounts that are not there; returns their names.
fn fill(container: &mut Map<String, Value>, kind: &str, amounts: &Map<String, Value>) -> Vec<String> {
    if amounts.is_empty() {
        return Vec::new();
    }
    let own = map_mut(map_mut(container, "resources"), kind);
    let mut set = Vec::new();
    for (name, value) in amounts {
        if !own.contains_key(name) {
            own.insert(name.clone(), value.clone());
            set.push(name.clone());
        }
    }
    set.sort();
    set
}
