//! Replication controllers.

use coracle_api::{FieldError, LabelSelector, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Part, Strategy, Write,
    apps::replicasets,
    check,
    columns::{AGE, NAME, integer, labels, wide},
    declared,
    rules::{Check, Errors, Place, Rule},
    tree::{count, entries, field, number, text},
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of replication controllers.
pub struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    fn default(&self, object: &mut Object) {
        let labels = object.get(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| count(labels) > 0) {
            if count(field(object, &["spec", "selector"])) == 0 {
                object.section_mut("spec").insert("selector".to_owned(), labels.clone());
            }
            if object.meta("labels").map_or(0, count) == 0 {
                object.set_meta("labels", Some(labels));
            }
        }
        unset(object.section_mut("spec"), "replicas", 1);
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        workloads::prepare(write, new, old, TEMPLATE);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match write.part {
            Part::Status => workloads::section(new, old, "status", replicasets::STATUS),
            _ => workloads::section(new, old, "spec", SPEC),
        }
    }

    fn check(
        &self,
        write: &Write<'_>,
        namespaced: bool,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<FieldError> {
        const DECLARED: &[&str] = &["metadata.name", "spec.replicas", "spec.minReadySeconds"];
        let mut errors = check(self, write, namespaced, new, old);
        if write.part == Part::Whole {
            declared::last(&mut errors, |error| DECLARED.contains(&error.path.as_str()));
        }
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        workloads::warn(write, new, old, TEMPLATE, true)
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("status.replicas", number(field(object, &["status", "replicas"])).to_string())]
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn orphans_by_default(&self) -> bool {
        true
    }
}

static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        if spec.get("selector").map_or(0, count) == 0 {
            errors.push(FieldError::required(&spec.path_of("selector"), ""));
        }
        if !spec.has("template") {
            errors.push(FieldError::required(&spec.path_of("template"), ""));
        }
        selects(spec, errors);
        workloads::lasting_template(spec, "ReplicationController", errors);
    }),
    Check::Field("replicas", &[Rule::Required(""), Rule::NotNegative]),
    Check::Field("minReadySeconds", &[Rule::NotNegative]),
];

fn selects(spec: &Place<'_>, errors: &mut Errors) {
    let selector = spec.get("selector").unwrap_or(&Value::Null);
    if count(selector) > 0 && spec.has("template") {
        let selector = LabelSelector::from_labels(entries(selector).map(|(key, value)| (key, text(value))));
        workloads::selects(spec, &selector, errors);
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Desired",
        "integer",
        "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        |it, _| integer(it, &["spec", "replicas"]),
    ),
    Column::new(
        "Current",
        "integer",
        "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        |it, _| integer(it, &["status", "replicas"]),
    ),
    Column::new(
        "Ready",
        "integer",
        "The number of ready replicas for this replication controller.",
        |it, _| integer(it, &["status", "readyReplicas"]),
    ),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
    wide(Column::new(
        "Selector",
        "string",
        "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        |it, _| labels(field(it, &["spec", "selector"])).into(),
    )),
];
