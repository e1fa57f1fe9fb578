//! What extenders answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The answer with the names of its fields in lower case: Go's decoder, for
/// which extenders are written, makes no difference.
pub(super) fn normalized(answer: Value) -> Value {
    match answer {
        Value::Object(fields) => {
            let lower = |(name, value): (String, Value)| {
                // Below these are names of nodes, or of Kubernetes' own objects.
                let name = name.to_ascii_lowercase();
                let value = match (name.as_str(), value) {
                    ("nodenametometavictims", Value::Object(nodes)) => {
                        let each = nodes.into_iter().map(|(node, them)| (node, normalized(them)));
                        Value::Object(each.collect())
                    }
                    ("pods", value) => normalized(value),
                    (_, value) => value,
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(lower).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalized).collect()),
        other => other,
    }
}

// As Go reads it: null is the empty value.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FilterResult {
    nodes: Option<Nodes>,
    nodenames: Option<Vec<String>>,
    #[serde(rename = "failednodes", deserialize_with = "or_empty")]
    pub(super) failed_nodes: BTreeMap<String, String>,
    #[serde(rename = "failedandunresolvablenodes", deserialize_with = "or_empty")]
    pub(super) failed_and_unresolvable_nodes: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nodes {
    #[serde(deserialize_with = "or_empty")]
    items: Vec<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

impl FilterResult {
    /// The names of the nodes that are left.
    pub(super) fn left(self, by_name: bool) -> BTreeSet<String> {
        match (self.nodenames.filter(|_| by_name), self.nodes) {
            (Some(names), _) => names.into_iter().collect(),
            (None, Some(nodes)) => nodes.items.into_iter().map(|node| node.metadata.name).collect(),
            (None, None) => BTreeSet::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HostPriority {
    #[serde(deserialize_with = "or_empty")]
    pub(super) host: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) score: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BindingResult {
    #[serde(deserialize_with = "or_empty")]
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PreemptionResult {
    #[serde(rename = "nodenametometavictims", deserialize_with = "or_empty")]
    pub(super) node_name_to_meta_victims: BTreeMap<String, MetaVictims>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetaVictims {
    #[serde(deserialize_with = "or_empty")]
    pub(super) pods: Vec<MetaPod>,
    #[serde(rename = "numpdbviolations", deserialize_with = "or_empty")]
    pub(super) num_pdb_violations: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetaPod {
    #[serde(deserialize_with = "or_empty")]
    pub(super) uid: String,
}
