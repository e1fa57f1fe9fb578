//! Replica sets.

use coracle_api::{FieldError, Object, format};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer, selector, wide},
    rules::{Check, Rule},
    tree::section,
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of replica sets.
pub struct ReplicaSets;

impl Strategy for ReplicaSets {
    fn fill_empty(&self, object: &mut Object) {
        object.section_mut("spec").insert("replicas".to_owned(), 0.into());
    }

    fn default(&self, object: &mut Object) {
        unset(object.section_mut("spec"), "replicas", 1);
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        workloads::prepare(write, new, old, TEMPLATE);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match write.part {
            Part::Status => workloads::section(new, old, "status", STATUS),
            _ => workloads::section(new, old, "spec", SPEC),
        }
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        workloads::warn(write, new, old, TEMPLATE, true)
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

static SPEC: &[Check] = &[
    Check::Field("replicas", &[Rule::NotNegative]),
    Check::Field("minReadySeconds", &[Rule::NotNegative]),
    Check::With(|spec, errors| {
        // Upstream's message names the other kind.
        if let Some(selector) = workloads::selector(spec, "deployment", errors) {
            if !selector.is_everything() {
                workloads::selects(spec, &selector, errors);
            }
            workloads::lasting_template(spec, "ReplicaSet", errors);
        }
    }),
    Check::With(workloads::same_selector),
];

/// The counts of replicas, which replication controllers have too.
pub static STATUS: &[Check] = &[
    Check::Field("replicas", &[Rule::NotNegative]),
    Check::Field("fullyLabeledReplicas", &[Rule::NotNegative]),
    Check::Field("readyReplicas", &[Rule::NotNegative]),
    Check::Field("availableReplicas", &[Rule::NotNegative]),
    Check::Field("observedGeneration", &[Rule::NotNegative]),
    Check::Field("terminatingReplicas", &[Rule::NotNegative]),
    Check::With(|status, errors| {
        let of_all =
            ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"].map(|it| (it, "replicas"));
        workloads::at_most(status, &of_all, |most| format!("cannot be greater than status.{most}"), errors);
        let ready = [("availableReplicas", "readyReplicas")];
        workloads::at_most(status, &ready, |most| format!("cannot be greater than {most}"), errors);
    }),
];

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Desired",
        "integer",
        "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        |it, _| integer(it, &["spec", "replicas"]),
    ),
    Column::new(
        "Current",
        "integer",
        "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        |it, _| integer(it, &["status", "replicas"]),
    ),
    Column::new(
        "Ready",
        "integer",
        "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.",
        |it, _| integer(it, &["status", "readyReplicas"]),
    ),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
    wide(Column::new(
        "Selector",
        "string",
        "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        |it, _| selector(&section(it, "spec")["selector"]).into(),
    )),
];
