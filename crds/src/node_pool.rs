//! So many simulated nodes of such a shape.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// The label of the nodes of a pool: the pool's name.
pub const POOL: &str = "coracle.dev/node-pool";
/// The annotation that says which template a node was made from.
pub const TEMPLATE: &str = "coracle.dev/template-hash";
/// The annotation of any simulated node that stops its heartbeats, with the
/// value [`STOPPED`].
pub const HEARTBEATS: &str = "coracle.dev/heartbeats";
/// No lease, no report, and nothing done for its pods.
pub const STOPPED: &str = "stopped";

/// What a pool asks for.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "coracle.dev",
    version = "v1alpha1",
    kind = "NodePool",
    plural = "nodepools",
    shortname = "np",
    category = "coracle",
    derive = "PartialEq",
    derive = "Default",
    doc = "A NodePool keeps so many simulated nodes of such a shape. Its nodes are named PREFIX-1, PREFIX-2 and so on; those with the highest numbers go first.",
    status = "NodePoolStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Up-to-date", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name becomes a label of the nodes and part of their names: at most 63 characters, no dot")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.prefix) == has(oldSelf.prefix)").message("the prefix cannot be changed: it is in the names of nodes"))]
pub struct NodePoolSpec {
    /// How many nodes.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
    /// What the nodes' names begin with; the pool's name where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(min = 1, max = 56))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the prefix cannot be changed: it is in the names of nodes"))]
    pub prefix: Option<String>,
    /// Zones that the nodes are spread over in turn: the label
    /// topology.kubernetes.io/zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub zones: Vec<String>,
    /// What the nodes are like. A change holds for nodes made from then on, as
    /// with a ReplicaSet: delete a node to have it made anew.
    #[serde(default)]
    pub template: NodeTemplate,
}

fn one() -> i32 {
    1
}

/// What the nodes of a pool are like.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeTemplate {
    /// More labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = Rule::new("!('coracle.dev/node-pool' in self)").message("the label coracle.dev/node-pool is the pool's own"))]
    #[schemars(extend("maxProperties" = 100))]
    pub labels: BTreeMap<String, String>,
    /// More annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub annotations: BTreeMap<String, String>,
    /// Taints that the nodes register with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub taints: Vec<Taint>,
    /// What a node has; what is not named here is as with other simulated
    /// nodes: 32 CPUs, 256Gi of memory, 1Ti of ephemeral storage, 110 pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub capacity: BTreeMap<String, Amount>,
    /// What pods may use of it; all of it where nothing else is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub allocatable: BTreeMap<String, Amount>,
    /// Images that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub images: Vec<Image>,
}

/// A quantity, as text or as a number.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Amount(pub String);

impl From<&Amount> for Quantity {
    fn from(amount: &Amount) -> Self {
        Quantity(amount.0.clone())
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 64,
            "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]{1,3}))?$",
        })
    }
}

/// A taint of the nodes of a pool.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What it does.
    pub effect: Effect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// They do not come.
    #[default]
    NoSchedule,
    /// They come where nothing better is.
    PreferNoSchedule,
    /// They do not come, and go.
    NoExecute,
}

/// An image that a node has.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// What it is called.
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 1024)))]
    pub names: Vec<String>,
    /// How large it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_bytes: Option<i64>,
}

/// What there is of a pool.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// The generation that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many nodes there are.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// How many of them were made from the template of now.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Selects the nodes, for who scales the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// `Ready`: as many nodes as asked for are there and ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
