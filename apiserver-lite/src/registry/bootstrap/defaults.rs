//! The roles that a new cluster has, and how it shares its requests: the rows
//! of `defaults.yaml` as objects.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Seed;
use crate::resources::tree::{self, map_mut, objects_mut, or_default};

const RBAC: &str = "rbac.authorization.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const FLOW_PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const FLOW_CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

type Row = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    clusterroles: Vec<Row>,
    clusterrolebindings: Vec<Row>,
    roles: Vec<Row>,
    rolebindings: Vec<Row>,
    prioritylevelconfigurations: Vec<Row>,
    flowschemas: Vec<Row>,
    apiservices: Vec<Row>,
}

/// The objects, parents first.
pub fn seeds(now: Timestamp) -> Vec<Seed> {
    let Ok(defaults) = serde_yaml_ng::from_str::<Defaults>(include_str!("defaults.yaml")) else {
        return Vec::new();
    };
    let mut seeds = Vec::new();
    let levels = defaults.prioritylevelconfigurations.into_iter();
    seeds.extend(levels.map(|row| flow("prioritylevelconfigurations", row)));
    seeds.extend(defaults.flowschemas.into_iter().map(|row| schema(row, now)));
    for (plural, rows) in [
        ("clusterroles", defaults.clusterroles),
        ("clusterrolebindings", defaults.clusterrolebindings),
        ("roles", defaults.roles),
        ("rolebindings", defaults.rolebindings),
    ] {
        seeds.extend(rows.into_iter().map(|row| rbac(plural, row)));
    }
    seeds.extend(defaults.apiservices.into_iter().map(service));
    seeds
}

// Moves what a row says of the metadata there.
fn placed(mut row: Row) -> Row {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels"] {
        if let Some(value) = row.remove(field) {
            metadata.insert(field.to_owned(), value);
        }
    }
    row.insert("metadata".to_owned(), Value::Object(metadata));
    row
}

fn rbac(plural: &'static str, row: Row) -> Seed {
    let mut object = placed(row);
    let metadata = map_mut(&mut object, "metadata");
    map_mut(metadata, "labels").insert("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".into());
    map_mut(metadata, "annotations")
        .insert("rbac.authorization.kubernetes.io/autoupdate".to_owned(), "true".into());
    if let Some(Value::Object(role)) = object.get_mut("roleRef") {
        role.insert("apiGroup".to_owned(), RBAC.into());
    }
    for subject in objects_mut(&mut object, "subjects") {
        if subject.get("kind").is_some_and(|kind| kind != "ServiceAccount") {
            subject.insert("apiGroup".to_owned(), RBAC.into());
        }
    }
    if !plural.ends_with("bindings") {
        or_default(&mut object, "rules", Value::Null);
    }
    Seed::new((RBAC, "v1", plural), Value::Object(object))
}

fn flow(plural: &'static str, row: Row) -> Seed {
    let mut object = placed(row);
    let annotations = map_mut(map_mut(&mut object, "metadata"), "annotations");
    annotations.insert("apf.kubernetes.io/autoupdate-spec".to_owned(), "true".into());
    Seed { manager: FLOW_PRODUCER, ..Seed::new((FLOW, "v1", plural), Value::Object(object)) }
}

fn schema(row: Row, now: Timestamp) -> Seed {
    let seed = flow("flowschemas", row);
    let level = seed.object.pointer("/spec/priorityLevelConfiguration/name").and_then(Value::as_str);
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {:?} and it exists",
        level.unwrap_or_default()
    );
    let found = json!({
        "type": "Dangling", "status": "False", "reason": "Found", "message": message,
        "lastTransitionTime": tree::time(now),
    });
    Seed { status: Some((FLOW_CONSUMER, json!({ "conditions": [found] }))), ..seed }
}

fn service(row: Row) -> Seed {
    let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}.{}", text("version"), text("group"));
    let labels = json!({ "kube-aggregator.kubernetes.io/automanaged": "onstart" });
    let object = json!({ "metadata": { "name": name, "labels": labels }, "spec": row });
    Seed::new(("apiregistration.k8s.io", "v1", "apiservices"), object)
}
