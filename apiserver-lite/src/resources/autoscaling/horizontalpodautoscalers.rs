//! Horizontal pod autoscalers.

use coracle_api::{FieldError, Object, format};
use serde_json::{Map, Value, json};

use super::{
    conversion::{self, DEFAULT_UTILIZATION},
    metrics::{REFERENCE, metric},
};
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer},
    core::quantities,
    rules::{self, Check, Errors, NOT_NEGATIVE, Place, Rule},
    tree::{field, list, map_mut, number, object_mut, section, set, text},
};

/// The behaviour of horizontal pod autoscalers, in both versions.
pub struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    fn default(&self, object: &mut Object) {
        let newer = object.api_version() != "autoscaling/v1";
        let spec = object.section_mut("spec");
        spec.entry("minReplicas").or_insert_with(|| 1.into());
        if !newer {
            return;
        }
        if spec.get("metrics").is_none_or(|metrics| list(metrics).is_empty()) {
            spec.insert("metrics".to_owned(), json!([conversion::cpu(DEFAULT_UTILIZATION)]));
        }
        if let Some(behavior) = object_mut(spec, "behavior") {
            default_behavior(behavior);
        }
    }

    fn to_storage(&self, object: &mut Object) {
        if object.api_version() == "autoscaling/v1" {
            conversion::to_v2(object);
        }
    }

    fn from_storage(&self, object: &mut Object, api_version: &str) {
        if api_version == "autoscaling/v1" && object.api_version() != api_version {
            conversion::to_v1(object);
        }
    }

    fn converted(&self, object: &mut Object, api_version: &str) {
        self.to_storage(object);
        self.from_storage(object, api_version);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return rules::validate(&[Check::Within("status", STATUS)], new, None);
        }
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let Some(spec) = place.field("spec") else { return errors };
        rules::check(SPEC, &spec, &mut errors);
        // A reference that is kept may stay without a version.
        let kept = old.is_some_and(|old| {
            let reference = |it, part: &str| text(field(it, &["spec", "scaleTargetRef", part])).to_owned();
            ["apiVersion", "kind"].iter().all(|part| reference(new, part) == reference(old, part))
        });
        if let Some(reference) = spec.field("scaleTargetRef").filter(|_| !kept) {
            version(&reference, reference.text("kind") == "ReplicationController", &mut errors);
        }
        if let Some(metrics) = spec.field("metrics") {
            metrics.items().for_each(|it| metric(&it, &mut errors));
        }
        zero(&spec, &mut errors);
        if let Some(behavior) = spec.field("behavior") {
            for side in ["scaleUp", "scaleDown"] {
                if let Some(rules) = behavior.field(side) {
                    rules::check(SCALING, &rules, &mut errors);
                }
            }
        }
        rules::check(DECLARED, &spec, &mut errors);
        errors
    }

    fn carriers(&self) -> &'static [&'static str] {
        conversion::CARRIERS
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

fn default_behavior(behavior: &mut Map<String, Value>) {
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    let up = map_mut(behavior, "scaleUp");
    up.entry("stabilizationWindowSeconds").or_insert_with(|| 0.into());
    up.entry("selectPolicy").or_insert_with(|| "Max".into());
    up.entry("policies").or_insert_with(|| json!([policy("Pods", 4), policy("Percent", 100)]));
    let down = map_mut(behavior, "scaleDown");
    down.entry("selectPolicy").or_insert_with(|| "Max".into());
    down.entry("policies").or_insert_with(|| json!([policy("Percent", 100)]));
}

static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        let (least, most) = (spec.number("minReplicas"), spec.number("maxReplicas").unwrap_or(0));
        let path = spec.path_of("maxReplicas");
        if least.is_some_and(|least| most < least) {
            errors.push(FieldError::invalid(&path, most, "must be greater than or equal to `minReplicas`"));
        }
    }),
    Check::Within("scaleTargetRef", REFERENCE),
];

// What upstream declares, and so says last.
static DECLARED: &[Check] = &[
    Check::Field("minReplicas", &[Rule::AtLeast(0, NOT_NEGATIVE)]),
    Check::With(|spec, errors| {
        let path = spec.path_of("maxReplicas");
        match spec.number("maxReplicas").unwrap_or(0) {
            0 => errors.push(FieldError::required(&path, "")),
            most if most < 0 => {
                errors.push(FieldError::invalid(&path, most, "must be greater than or equal to 1"));
            }
            _ => {}
        }
    }),
];

static STATUS: &[Check] = &[
    Check::Each("conditions", &[Check::Field("observedGeneration", &[Rule::NotNegative])]),
    Check::Field("currentReplicas", &[Rule::NotNegative]),
    Check::Field("desiredReplicas", &[Rule::NotNegative]),
];

fn version(reference: &Place<'_>, core: bool, errors: &mut Errors) {
    let version = reference.text("apiVersion");
    let fault = match version.split('/').count() {
        1 if core => return,
        1 => "apiVersion must specify API group".to_owned(),
        2 => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    errors.push(FieldError::invalid(&reference.path_of("apiVersion"), version, fault));
}

// Nothing to measure is left when all pods are gone, but what is outside.
fn zero(spec: &Place<'_>, errors: &mut Errors) {
    let outside = spec.list("metrics").iter().any(|it| ["Object", "External"].contains(&text(&it["type"])));
    if spec.number("minReplicas") == Some(0) && !outside {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(&spec.path_of("metrics"), detail));
    }
}

static SCALING: &[Check] = &[
    Check::Field(
        "stabilizationWindowSeconds",
        &[
            Rule::AtLeast(0, "must be greater than or equal to zero"),
            Rule::AtMost(3600, "must be less than or equal to 3600"),
        ],
    ),
    Check::Pointer("selectPolicy", &[Rule::OneOf(&["Disabled", "Max", "Min"])]),
    Check::With(|rules, errors| {
        if rules.list("policies").is_empty() {
            errors.push(FieldError::required(&rules.path_of("policies"), "must specify at least one Policy"));
        }
    }),
    Check::Each("policies", POLICY),
    Check::With(|rules, errors| {
        errors.extend(quantities::not_negative(rules.text("tolerance"), &rules.path_of("tolerance")));
    }),
];

static POLICY: &[Check] = &[Check::With(|policy, errors| {
    const TYPES: &[&str] = &["Percent", "Pods"];
    const POSITIVE: &str = "must be greater than zero";
    const LONGEST: i64 = 1800;
    if !TYPES.contains(&policy.text("type")) {
        errors.push(FieldError::not_supported(&policy.path_of("type"), policy.text("type"), TYPES));
    }
    for name in ["value", "periodSeconds"] {
        let number = policy.number(name).unwrap_or(0);
        if number <= 0 {
            errors.push(FieldError::invalid(&policy.path_of(name), number, POSITIVE));
        }
    }
    if let Some(seconds) = policy.number("periodSeconds").filter(|seconds| *seconds > LONGEST) {
        let detail = format!("must be less than or equal to {LONGEST}");
        errors.push(FieldError::invalid(&policy.path_of("periodSeconds"), seconds, detail));
    }
})];

fn reference(it: &Object) -> Value {
    let target = field(it, &["spec", "scaleTargetRef"]);
    format!("{}/{}", text(&target["kind"]), text(&target["name"])).into()
}

fn targets(autoscaler: &Object) -> String {
    const SHOWN: usize = 2;
    let metrics = list(field(autoscaler, &["spec", "metrics"]));
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let statuses = list(field(autoscaler, &["status", "currentMetrics"]));
    let none = Value::Null;
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(index, it)| target(it, statuses.get(index).unwrap_or(&none)))
        .take(SHOWN)
        .collect();
    let shown = shown.join(", ");
    if metrics.len() > SHOWN { format!("{shown} + {} more...", metrics.len() - SHOWN) } else { shown }
}

fn target(metric: &Value, status: &Value) -> String {
    let source = match text(&metric["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (goal, now) = (&metric[source]["target"], &status[source]["current"]);
    let current = |name: &str| match &now[name] {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        number => format!("{number}%"),
    };
    let average = set(&goal["averageValue"]);
    if source.ends_with("esource") {
        let name = text(&metric[source]["name"]);
        if average {
            return format!("{name}: {}/{}", current("averageValue"), text(&goal["averageValue"]));
        }
        let goal = match &goal["averageUtilization"] {
            Value::Null => "<auto>".to_owned(),
            share => format!("{}%", number(share)),
        };
        return format!("{name}: {}/{goal}", current("averageUtilization"));
    }
    match (source, average) {
        ("pods", _) => format!("{}/{}", current("averageValue"), text(&goal["averageValue"])),
        (_, true) => format!("{}/{} (avg)", current("averageValue"), text(&goal["averageValue"])),
        (_, false) => format!("{}/{}", current("value"), text(&goal["value"])),
    }
}

// Tables are made of either version.
fn either(object: &Object) -> Object {
    let mut object = object.clone();
    if object.api_version() == "autoscaling/v1" {
        conversion::to_v2(&mut object);
    }
    object
}

fn least(it: &Object) -> Value {
    match section(it, "spec").get("minReplicas").and_then(Value::as_i64) {
        Some(least) => least.to_string().into(),
        None => "<unset>".into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Reference",
        "string",
        "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
        |it, _| reference(it),
    ),
    Column::new(
        "Targets",
        "string",
        "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
        |it, _| targets(&either(it)).into(),
    ),
    Column::new(
        "MinPods",
        "string",
        "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
        |it, _| least(it),
    ),
    Column::new(
        "MaxPods",
        "string",
        "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
        |it, _| integer(it, &["spec", "maxReplicas"]),
    ),
    Column::new(
        "Replicas",
        "string",
        "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
        |it, _| integer(it, &["status", "currentReplicas"]),
    ),
    AGE,
];
