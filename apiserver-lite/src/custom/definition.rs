//! A CRD, read: its versions with their schemas, and the rows that it is.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use coracle_api::{
    GroupVersionKind, Object, Resource,
    facts::autoscaling_v1::SCALE,
    resource::{Subresource, api_version},
    schema::{Ref, Struct},
};
use coracle_store::Record;
use serde_json::Value;

use super::{
    cel::Rules,
    columns,
    json_path::JsonPath,
    schema::Schema,
    shape,
    strategy::{Custom, Selectable},
};
use crate::{
    codec,
    discovery::{storage_version_hash, version_order},
    resources::{
        Row, ScalePaths,
        tree::{field, list, set, text, texts, truth},
    },
};

type Text = Cow<'static, str>;
/// The rows of a definition's versions, each with whether it is served.
pub type Rows = Vec<(bool, Arc<Row>)>;

const VERBS: &[Text] = &[
    Cow::Borrowed("delete"),
    Cow::Borrowed("deletecollection"),
    Cow::Borrowed("get"),
    Cow::Borrowed("list"),
    Cow::Borrowed("patch"),
    Cow::Borrowed("create"),
    Cow::Borrowed("update"),
    Cow::Borrowed("watch"),
];
const PART_VERBS: &[Text] = &[Cow::Borrowed("get"), Cow::Borrowed("patch"), Cow::Borrowed("update")];

/// A version of a custom resource.
pub struct Form {
    /// Its `apiVersion`.
    pub api_version: String,
    /// What its schema says.
    pub schema: Schema,
    /// The same as a shape.
    pub shape: Ref<Struct>,
    /// Its rules in CEL, compiled at the first write.
    pub rules: OnceLock<Option<Rules>>,
}

/// An established CRD.
pub struct Definition {
    /// The record of the CRD.
    pub record: Arc<Record>,
    /// Its group.
    pub group: String,
    /// The kind of its objects.
    pub kind: String,
    /// Its versions, served or not.
    pub forms: Vec<Form>,
    /// Which of them is stored.
    pub storage: usize,
    /// Objects that were stored after this revision are as the schema has them.
    pub since: AtomicU64,
    /// Whether it is being deleted: nothing is created any more.
    pub terminating: bool,
    /// Whether versions are converted by a webhook.
    pub webhook: bool,
    /// Tells it apart from what it was before.
    pub stamp: u64,
}

/// Whether a condition of a CRD is true.
pub fn is_true(crd: &Object, kind: &str) -> bool {
    list(field(crd, &["status", "conditions"]))
        .iter()
        .any(|it| text(&it["type"]) == kind && text(&it["status"]) == "True")
}

impl Definition {
    /// Reads a CRD: it, and a row for each of its versions, with whether that is
    /// served. `None` while it is not established.
    pub fn read(record: &Arc<Record>, stamp: u64) -> Option<(Arc<Self>, Rows)> {
        let crd = codec::json::parse_stored(&record.bytes);
        if !is_true(&crd, "Established") {
            return None;
        }
        let group = text(field(&crd, &["spec", "group"])).to_owned();
        let kind = text(field(&crd, &["status", "acceptedNames", "kind"])).to_owned();
        let versions = list(field(&crd, &["spec", "versions"]));
        let storage = versions.iter().position(|it| truth(&it["storage"]))?;
        let form = |version: &Value| {
            let name = text(&version["name"]);
            let mut schema = Schema::parse(&version["schema"]["openAPIV3Schema"]);
            schema.preserve |= truth(field(&crd, &["spec", "preserveUnknownFields"]));
            let shape = Arc::new(shape::resource(definition_name(&group, name, &kind), &schema));
            Form {
                api_version: api_version(&group, name),
                schema,
                shape: Ref::Shared(shape),
                rules: OnceLock::new(),
            }
        };
        let definition = Arc::new(Self {
            forms: versions.iter().map(form).collect(),
            storage,
            since: AtomicU64::new(record.revision.0),
            terminating: crd.deleting() || is_true(&crd, "Terminating"),
            webhook: text(field(&crd, &["spec", "conversion", "strategy"])) == "Webhook",
            stamp,
            record: record.clone(),
            group,
            kind,
        });
        let all = versions.iter().enumerate();
        let rows = all
            .map(|(index, version)| {
                (truth(&version["served"]), Arc::new(row(&definition, &crd, index, version)))
            })
            .collect();
        Some((definition, rows))
    }

    /// Whether both serve the same: a change to the status alone is none.
    pub fn is_as(crd: &Object, other: &Object) -> bool {
        let same = |path: &[&str]| field(crd, path) == field(other, path);
        same(&["spec"])
            && same(&["status", "acceptedNames"])
            && crd.deleting() == other.deleting()
            && is_true(crd, "Established") == is_true(other, "Established")
    }

    /// The version of that `apiVersion`.
    pub fn form(&self, api_version: &str) -> Option<&Form> {
        self.forms.iter().find(|form| form.api_version == api_version)
    }

    /// The version that is stored.
    pub fn stored(&self) -> Option<&Form> {
        self.forms.get(self.storage)
    }
}

/// The name of a custom resource's OpenAPI definition: its group in reverse.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

fn owned(text: &str) -> Text {
    Cow::Owned(text.to_owned())
}

fn path(text: &str) -> Cow<'static, [Text]> {
    text.trim_start_matches('.').split('.').map(owned).collect()
}

fn row(definition: &Arc<Definition>, crd: &Object, index: usize, version: &Value) -> Row {
    let names = field(crd, &["status", "acceptedNames"]);
    let name = |field: &str| owned(text(&names[field]));
    let all = |field: &str| texts(&names[field]).into_iter().map(owned).collect();
    let (group, kind) = (owned(&definition.group), name("kind"));
    let gvk = |version: &str| GroupVersionKind {
        group: group.clone(),
        version: owned(version),
        kind: kind.clone(),
    };
    let versions = list(field(crd, &["spec", "versions"]));
    let stored = versions.get(definition.storage).map_or("", |it| text(&it["name"]));
    let shape = definition.forms[index].shape.clone();
    let mut subresources = Vec::new();
    let parts = &version["subresources"];
    if set(&parts["status"]) {
        let own = gvk(text(&version["name"]));
        let schema = Some(shape.clone());
        subresources.push(Subresource {
            name: "status".into(),
            gvk: own,
            verbs: Cow::Borrowed(PART_VERBS),
            schema,
        });
    }
    if set(&parts["scale"]) {
        let scale =
            GroupVersionKind { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into() };
        subresources.push(Subresource {
            name: "scale".into(),
            gvk: scale,
            verbs: Cow::Borrowed(PART_VERBS),
            schema: Some(Ref::Static(&SCALE)),
        });
    }
    let facts = Resource {
        gvk: gvk(text(&version["name"])),
        list_kind: name("listKind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: all("shortNames"),
        categories: all("categories"),
        namespaced: text(field(crd, &["spec", "scope"])) == "Namespaced",
        verbs: Cow::Borrowed(VERBS),
        subresources: Cow::Owned(subresources),
        storage: Cow::Owned(format!("{group}/{}", text(&names["plural"]))),
        storage_version: gvk(stored),
        storage_hash: Cow::Owned(storage_version_hash(&gvk(stored))),
        schema: shape,
    };
    let selectable = list(&version["selectableFields"]).iter().filter_map(|it| {
        let path = text(&it["jsonPath"]);
        let name = path.strip_prefix('.').unwrap_or(path).to_owned();
        Some(Selectable { name, path: JsonPath::parse(path).ok()? })
    });
    let strategy = Custom {
        definition: definition.clone(),
        form: index,
        status: set(&parts["status"]),
        scale: set(&parts["scale"]).then(|| ScalePaths {
            replicas: path(text(&parts["scale"]["specReplicasPath"])),
            current: path(text(&parts["scale"]["statusReplicasPath"])),
            selector: Some(text(&parts["scale"]["labelSelectorPath"])).filter(|it| !it.is_empty()).map(path),
            custom: true,
        }),
        selectable: selectable.collect(),
        warning: truth(&version["deprecated"]).then(|| deprecation(definition, versions, version)),
    };
    Row {
        facts: Ref::Shared(Arc::new(facts)),
        strategy: Arc::new(strategy),
        columns: Cow::Owned(columns::of(version)),
    }
}

// What clients of a deprecated version are told.
fn deprecation(definition: &Definition, versions: &[Value], version: &Value) -> String {
    if let Some(warning) = version["deprecationWarning"].as_str() {
        return warning.to_owned();
    }
    let own = text(&version["name"]);
    let (group, kind) = (&definition.group, &definition.kind);
    let better = |it: &&Value| {
        truth(&it["served"])
            && !truth(&it["deprecated"])
            && version_order(text(&it["name"]), own) == std::cmp::Ordering::Less
    };
    let mut better: Vec<&str> = versions.iter().filter(better).map(|it| text(&it["name"])).collect();
    better.sort_by(|a, b| version_order(a, b));
    let use_it = better.first().map(|it| format!("; use {group}/{it} {kind}")).unwrap_or_default();
    format!("{group}/{own} {kind} is deprecated{use_it}")
}
