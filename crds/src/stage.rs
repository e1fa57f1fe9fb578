//! How simulated pods and nodes move on: KWOK's Stage, with expressions in CEL.

// Columns of one type are no duplicates.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The annotation of a simulated pod whose probes fail: a list of `readiness`,
/// `liveness` and `startup`, each of one container where its name and a slash
/// stand before it.
pub const FAILING_PROBES: &str = "coracle.dev/failing-probes";

/// One step in the life of simulated pods or nodes.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "coracle.dev",
    version = "v1alpha1",
    kind = "Stage",
    plural = "stages",
    category = "coracle",
    derive = "PartialEq",
    derive = "Default",
    doc = "A Stage says what becomes of the simulated pods or nodes that it selects, and after what delay. While a pod waits for a Stage, nothing else happens to it. Pods and nodes that no Stage selects live as simulated ones do by themselves.",
    status = "StageStatus",
    printcolumn(name = "Of", type_ = "string", json_path = ".spec.resourceRef.kind"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waiting"),
    printcolumn(name = "Played", type_ = "integer", json_path = ".status.played"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.resourceRef.kind == 'Pod' || !has(self.next) || !has(self.next.containers)")
    .message("next.containers is for pods"))]
pub struct StageSpec {
    /// What it is for.
    pub resource_ref: ResourceRef,
    /// Which of them; none of them where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Where several Stages select an object, one is drawn, each as often as its
    /// weight says. Where all weights are 0, all are alike.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: i64,
    /// Where the weight is found instead: a number, or text that is one. What is
    /// not there leaves `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_from: Option<ValueFrom>,
    /// How long the object waits, from when the Stage was drawn for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// What happens then.
    #[serde(default)]
    pub next: Next,
    /// Look for the next Stage at once, also when nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immediate_next_stage: Option<bool>,
}

/// A kind.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Its group and version, as KWOK writes it.
    #[serde(default = "core")]
    pub api_group: Group,
    /// The kind.
    pub kind: Kind,
}

fn core() -> Group {
    Group::V1
}

/// A group that a Stage may be for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// The core group.
    #[default]
    #[serde(rename = "v1")]
    V1,
}

/// A kind that a Stage may be for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Pods on simulated nodes.
    #[default]
    Pod,
    /// Simulated nodes.
    Node,
}

/// Which objects; all of what it says must hold.
///
/// A Stage whose expressions do not speak of `deletionTimestamp` is for what is
/// not being deleted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub match_labels: BTreeMap<String, String>,
    /// Annotations with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub match_annotations: BTreeMap<String, String>,
    /// Expressions that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<MatchExpression>,
}

/// An expression that holds or does not: in CEL, or a path with an operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cel) != has(self.key)").message("exactly one of cel and key"))]
#[x_kube(validation = Rule::new("has(self.key) == has(self.operator)").message("key and operator go together"))]
#[x_kube(validation = Rule::new("!has(self.operator) || (self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
    .message("values are for the operators In and NotIn, which need some"))]
pub struct MatchExpression {
    /// True or false, of the variables `self`, the object, and `now`. A field
    /// that is not there makes it false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cel: Option<Cel>,
    /// A path in jq's form: `.status.phase`, `.metadata.labels["a"]`,
    /// `.status.conditions.[] | select( .type == "Ready" ) | .status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub key: Option<String>,
    /// What must be of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// For the operators In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 1024)))]
    pub values: Vec<String>,
}

/// What must be of the values at a path.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of them is listed.
    In,
    /// None of them is listed.
    NotIn,
    /// There is one.
    Exists,
    /// There is none.
    DoesNotExist,
}

/// An expression in CEL.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cel {
    /// The expression.
    #[schemars(length(min = 1, max = 8192))]
    pub expression: String,
}

/// Where a value is found: in CEL, or at a path.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cel) != has(self.expressionFrom)").message("exactly one of cel and expressionFrom"))]
pub struct ValueFrom {
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cel: Option<Cel>,
    /// The path of the value, in jq's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression_from: Option<String>,
}

/// How long to wait. No wait is longer than a week.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// So long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800_000))]
    pub duration_milliseconds: Option<i64>,
    /// Where that is found instead: a duration as Go writes it (`1m30s`), or a
    /// time, until which to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_from: Option<ValueFrom>,
    /// A time between `durationMilliseconds` and this is drawn; this itself where it is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800_000))]
    pub jitter_duration_milliseconds: Option<i64>,
    /// Where that is found instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_duration_from: Option<ValueFrom>,
}

/// What happens, in this order. Nothing at all is something too: the wait.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// An event is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// Finalizers come or go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalizers: Option<Finalizers>,
    /// The object is deleted, at once; nothing comes after that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete: bool,
    /// The object is patched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub patches: Vec<Patch>,
    /// What the status is patched with: YAML, in whose texts `${ }` holds CEL. A
    /// text that is only that becomes the value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub status_template: Option<String>,
    /// The subresource that `statusTemplate` is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_subresource: Option<Subresource>,
    /// What becomes of containers that run; restart policies decide what comes
    /// after that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub containers: Vec<Exit>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// An event to report.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Whether it needs attention.
    #[serde(rename = "type", default)]
    pub type_: EventType,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// What to tell.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Whether an event needs attention.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventType {
    /// It does not.
    #[default]
    Normal,
    /// It does.
    Warning,
}

/// How finalizers change.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Finalizers {
    /// These come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub add: Vec<Finalizer>,
    /// These go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub remove: Vec<Finalizer>,
    /// All go.
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty: bool,
}

/// One of them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Finalizer {
    /// Its name.
    #[schemars(length(min = 1, max = 316))]
    pub value: String,
}

/// A patch of the object.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// Of this subresource; of the object itself where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<Subresource>,
    /// The field that the template is of; the whole object where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9]*$"), length(max = 64))]
    pub root: Option<String>,
    /// The patch, or with `root` the value of that field: YAML, in whose texts
    /// `${ }` holds CEL.
    #[schemars(length(min = 1, max = 65536))]
    pub template: String,
    /// Its form; `strategic` where nothing is said.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<PatchType>,
}

/// A subresource that can be patched.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subresource {
    /// The status.
    #[default]
    #[serde(rename = "status")]
    Status,
}

/// The form of a patch.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Strategic merge.
    #[default]
    Strategic,
}

/// The end of containers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Those of these names; all that run and are not init containers where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63)))]
    pub names: Vec<String>,
    /// They end with this code.
    #[schemars(range(min = 0, max = 255))]
    pub exit_code: i32,
    /// Why; `Completed` or `Error` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub reason: Option<String>,
    /// What they said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// What became of a Stage.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// `Ready`: its expressions are understood. `Evaluated`: they could be
    /// evaluated, and what they made was accepted, when that was last tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many objects wait for it.
    #[serde(default)]
    pub waiting: i64,
    /// How often it was played.
    #[serde(default)]
    pub played: i64,
    /// How often that failed.
    #[serde(default)]
    pub failed: i64,
}
