//! Deployments.

use coracle_api::{FieldError, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer, selector, wide},
    rules::{Check, Errors, Place, Rule},
    tree::{field, number, section},
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of deployments.
pub struct Deployments;

impl Strategy for Deployments {
    fn fill_empty(&self, object: &mut Object) {
        object.section_mut("spec").insert("replicas".to_owned(), 0.into());
    }

    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        unset(spec, "replicas", 1);
        unset(spec, "revisionHistoryLimit", 10);
        unset(spec, "progressDeadlineSeconds", 600);
        unset(spec, "strategy", json!({}));
        if let Some(strategy) = spec.get_mut("strategy").and_then(Value::as_object_mut) {
            unset(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                unset(strategy, "rollingUpdate", json!({}));
                if let Some(update) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                    unset(update, "maxUnavailable", "25%");
                    unset(update, "maxSurge", "25%");
                }
            }
        }
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        workloads::prepare(write, new, old, TEMPLATE);
        match (write.part, old) {
            (Part::Status, Some(old)) => new.set_meta("labels", old.meta("labels").cloned()),
            // Annotations are copied to replica sets, so a change of them is
            // one that has to be acted on.
            (Part::Whole, Some(old)) if new.meta("annotations") != old.meta("annotations") => {
                workloads::generation(new, old.generation() + 1);
            }
            _ => {}
        }
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
    Check::With(|spec, errors| {
        if let Some(selector) = workloads::selector(spec, "deployment", errors) {
            if !selector.is_everything() {
                workloads::selects(spec, &selector, errors);
            }
            workloads::lasting_template(spec, "ReplicaSet", errors);
        }
    }),
    Check::Within("strategy", &[Check::With(strategy)]),
    Check::Field("minReadySeconds", &[Rule::NotNegative]),
    Check::Field("revisionHistoryLimit", &[Rule::NotNegative]),
    Check::Field("progressDeadlineSeconds", &[Rule::NotNegative]),
    Check::With(|spec, errors| {
        let ready = spec.number("minReadySeconds").unwrap_or(0);
        if let Some(deadline) = spec.number("progressDeadlineSeconds").filter(|it| *it <= ready) {
            let path = spec.path_of("progressDeadlineSeconds");
            errors.push(FieldError::invalid(&path, deadline, "must be greater than minReadySeconds"));
        }
    }),
    Check::With(workloads::same_selector),
];

fn strategy(strategy: &Place<'_>, errors: &mut Errors) {
    let rolling = strategy.field("rollingUpdate");
    match (strategy.text("type"), rolling) {
        ("Recreate", Some(rolling)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&rolling.path(), detail));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            let detail = "this should be defaulted and never be nil";
            errors.push(FieldError::required(&strategy.path_of("rollingUpdate"), detail));
        }
        ("RollingUpdate", Some(rolling)) => {
            let unavailable = workloads::int_or_percent(&rolling, "maxUnavailable", errors);
            let surge = workloads::int_or_percent(&rolling, "maxSurge", errors);
            if unavailable == 0 && surge == 0 {
                let shown = rolling.get("maxUnavailable").cloned().unwrap_or_else(|| 0.into());
                let detail = "may not be 0 when `maxSurge` is 0";
                let path = rolling.path_of("maxUnavailable");
                errors.push(workloads::showing(
                    FieldError::invalid(&path, shown.clone(), detail),
                    "",
                    &shown,
                ));
            }
            workloads::at_most_all(&rolling, "maxUnavailable", errors);
        }
        _ => {
            let value = strategy.value();
            let supported = ["Recreate", "RollingUpdate"];
            let error = FieldError::not_supported(&strategy.path(), value.clone(), &supported);
            errors.push(workloads::showing(error, "DeploymentStrategy", value));
        }
    }
}

static STATUS: &[Check] = &[
    Check::Field("observedGeneration", &[Rule::NotNegative]),
    Check::Field("replicas", &[Rule::NotNegative]),
    Check::Field("updatedReplicas", &[Rule::NotNegative]),
    Check::Field("readyReplicas", &[Rule::NotNegative]),
    Check::Field("availableReplicas", &[Rule::NotNegative]),
    Check::Field("unavailableReplicas", &[Rule::NotNegative]),
    Check::Field("terminatingReplicas", &[Rule::NotNegative]),
    Check::Field("collisionCount", &[Rule::NotNegative]),
    Check::With(|status, errors| {
        let of_all = ["updatedReplicas", "readyReplicas", "availableReplicas"].map(|it| (it, "replicas"));
        workloads::at_most(status, &of_all, |most| format!("cannot be greater than status.{most}"), errors);
        let ready = [("availableReplicas", "readyReplicas")];
        workloads::at_most(status, &ready, |most| format!("cannot be greater than {most}"), errors);
    }),
    Check::With(workloads::collisions),
];

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", "string", "Number of the pod with ready state", |it, _| {
        let (ready, all) = (field(it, &["status", "readyReplicas"]), field(it, &["spec", "replicas"]));
        format!("{}/{}", number(ready), number(all)).into()
    }),
    Column::new(
        "Up-to-date",
        "string",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
        |it, _| integer(it, &["status", "updatedReplicas"]),
    ),
    Column::new(
        "Available",
        "string",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
        |it, _| integer(it, &["status", "availableReplicas"]),
    ),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
    wide(Column::new(
        "Selector",
        "string",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
        |it, _| match selector(&section(it, "spec")["selector"]).as_str() {
            // This kind alone shows an empty selector as it is.
            "<none>" => "".into(),
            text => text.into(),
        },
    )),
];
