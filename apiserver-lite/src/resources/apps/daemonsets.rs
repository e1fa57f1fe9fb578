//! Daemon sets.
//!
//! What counts changes of the template in them is no field of `apps/v1`: it
//! stands in an annotation there.

use coracle_api::{FieldError, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer, labels, selector, wide},
    label_selectors::SELECTOR,
    rules::{Check, Errors, Place, Rule, check},
    tree::{field, map_mut, section},
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of daemon sets.
pub struct DaemonSets;

const COUNT: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSets {
    fn fill_empty(&self, object: &mut Object) {
        let annotations = object.meta("annotations").cloned().unwrap_or_default();
        let mut annotations = annotations.as_object().cloned().unwrap_or_default();
        annotations.insert("deprecated.daemonset.template.generation".to_owned(), "0".into());
        object.set_meta("annotations", Some(annotations.into()));
    }

    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        unset(spec, "revisionHistoryLimit", 10);
        unset(spec, "updateStrategy", json!({}));
        if let Some(strategy) = spec.get_mut("updateStrategy").and_then(Value::as_object_mut) {
            unset(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                unset(strategy, "rollingUpdate", json!({}));
                if let Some(update) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                    unset(update, "maxUnavailable", 1);
                    unset(update, "maxSurge", 0);
                }
            }
        }
        workloads::default_template(object, TEMPLATE);
        // Every object that is read has its count written into it, which is so
        // a field of who writes.
        set_count(object, count(object));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        workloads::prepare(write, new, old, TEMPLATE);
        let counted = match (write.part, old) {
            (Part::Status, Some(old)) => count(old),
            (_, Some(old)) => count(old) + i64::from(new.get(TEMPLATE) != old.get(TEMPLATE)),
            (_, None) => count(new).max(1),
        };
        set_count(new, counted);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match write.part {
            Part::Status => workloads::section(new, old, "status", STATUS),
            _ => workloads::section(new, old, "spec", SPEC),
        }
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        // Only a change of the template is worth a warning.
        if old.is_some_and(|old| new.get(TEMPLATE) == old.get(TEMPLATE)) {
            return Vec::new();
        }
        workloads::warn(write, new, old, TEMPLATE, false)
    }

    fn carriers(&self) -> &'static [&'static str] {
        &[COUNT]
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

fn count(object: &Object) -> i64 {
    object.annotation(COUNT).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn set_count(object: &mut Object, count: i64) {
    map_mut(object.metadata_mut(), "annotations").insert(COUNT.to_owned(), count.to_string().into());
}

static SPEC: &[Check] = &[
    Check::With(workloads::same_selector),
    Check::Within("selector", SELECTOR),
    Check::With(|spec, errors| {
        if let Some(selector) = workloads::parsed(spec) {
            workloads::selects(spec, &selector, errors);
        }
        workloads::empty_selector(spec, "daemonset", errors);
        workloads::lasting_template(spec, "DaemonSet", errors);
    }),
    Check::Field("minReadySeconds", &[Rule::NotNegative]),
    Check::Within("updateStrategy", &[Check::With(strategy)]),
    Check::Field("revisionHistoryLimit", &[Rule::NotNegative]),
];

fn strategy(strategy: &Place<'_>, errors: &mut Errors) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            check(&[Check::Field("rollingUpdate", &[Rule::Required("")])], strategy, errors);
            if let Some(rolling) = strategy.field("rollingUpdate") {
                rolling_update(&rolling, errors);
            }
        }
        _ => {
            let value = strategy.value();
            let supported = ["RollingUpdate", "OnDelete"];
            let error = FieldError::not_supported(&strategy.path(), value.clone(), &supported);
            errors.push(workloads::showing(error, "DaemonSetUpdateStrategy", value));
        }
    }
}

fn rolling_update(rolling: &Place<'_>, errors: &mut Errors) {
    let unavailable = workloads::int_or_percent(rolling, "maxUnavailable", errors);
    let surge = workloads::int_or_percent(rolling, "maxSurge", errors);
    workloads::at_most_all(rolling, "maxUnavailable", errors);
    workloads::at_most_all(rolling, "maxSurge", errors);
    if unavailable != 0 && surge != 0 {
        let shown = rolling.get("maxSurge").cloned().unwrap_or_default();
        let detail = "may not be set when maxUnavailable is non-zero";
        let error = FieldError::invalid(&rolling.path_of("maxSurge"), shown.clone(), detail);
        errors.push(workloads::showing(error, "", &shown));
    } else if unavailable == 0 && surge == 0 {
        let path = rolling.path_of("maxUnavailable");
        errors.push(FieldError::required(&path, "cannot be 0 when maxSurge is 0"));
    }
}

static STATUS: &[Check] = &[
    Check::Field("currentNumberScheduled", &[Rule::NotNegative]),
    Check::Field("numberMisscheduled", &[Rule::NotNegative]),
    Check::Field("desiredNumberScheduled", &[Rule::NotNegative]),
    Check::Field("numberReady", &[Rule::NotNegative]),
    Check::Field("observedGeneration", &[Rule::NotNegative]),
    Check::Field("updatedNumberScheduled", &[Rule::NotNegative]),
    Check::Field("numberAvailable", &[Rule::NotNegative]),
    Check::Field("numberUnavailable", &[Rule::NotNegative]),
    Check::Field("collisionCount", &[Rule::NotNegative]),
    Check::With(workloads::collisions),
];

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Desired",
        "integer",
        "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        |it, _| integer(it, &["status", "desiredNumberScheduled"]),
    ),
    Column::new(
        "Current",
        "integer",
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        |it, _| integer(it, &["status", "currentNumberScheduled"]),
    ),
    Column::new(
        "Ready",
        "integer",
        "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
        |it, _| integer(it, &["status", "numberReady"]),
    ),
    Column::new(
        "Up-to-date",
        "integer",
        "The total number of nodes that are running updated daemon pod",
        |it, _| integer(it, &["status", "updatedNumberScheduled"]),
    ),
    Column::new(
        "Available",
        "integer",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
        |it, _| integer(it, &["status", "numberAvailable"]),
    ),
    Column::new(
        "Node Selector",
        "string",
        "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
        |it, _| labels(field(it, &["spec", "template", "spec", "nodeSelector"])).into(),
    ),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
    wide(Column::new(
        "Selector",
        "string",
        "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        |it, _| selector(&section(it, "spec")["selector"]).into(),
    )),
];
