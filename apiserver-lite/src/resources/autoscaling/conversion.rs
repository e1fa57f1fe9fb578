//! Horizontal pod autoscalers between `autoscaling/v1`, which knows CPU only
//! and keeps the rest in annotations, and `autoscaling/v2`, which is stored.

use coracle_api::Object;
use serde_json::{Map, Value, json};

use crate::resources::{
    core::pods::internal::{Internal, escaped},
    tree::{list, map_mut, set, text},
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What carries in v1 what only v2 has fields for.
pub const CARRIERS: &[&str] = &[
    METRICS,
    CURRENT,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
/// The utilization of CPU that is aimed at when nothing else is said.
pub const DEFAULT_UTILIZATION: i64 = 80;

/// A metric that aims at a share of the CPU that pods ask for.
pub fn cpu(utilization: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": utilization});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn is_cpu(metric: &Value) -> bool {
    text(&metric["type"]) == "Resource"
        && text(&metric["resource"]["name"]) == "cpu"
        && set(&metric["resource"]["target"]["averageUtilization"])
}

fn carried(object: &Object, name: &str) -> Option<Value> {
    serde_json::from_str(object.annotation(name)?).ok()
}

fn drop_carriers(object: &mut Object) {
    let Some(Value::Object(annotations)) = object.metadata_mut().get_mut("annotations") else { return };
    for name in CARRIERS {
        annotations.remove(*name);
    }
    if annotations.is_empty() {
        object.set_meta("annotations", None);
    }
}

/// From v1 to v2.
pub fn to_v2(object: &mut Object) {
    let mut metrics: Vec<Value> = carried(object, METRICS)
        .map(|them| list(&them).iter().map(|it| metric(it, Direction::Newer)).collect())
        .unwrap_or_default();
    let behavior = carried(object, BEHAVIOR).map(|it| recased(&it));
    let statuses: Option<Vec<Value>> = carried(object, CURRENT)
        .map(|them| list(&them).iter().map(|it| status(it, Direction::Newer)).collect());
    let conditions = carried(object, CONDITIONS).filter(Value::is_array).map(|it| recased(&it));
    let spec = object.section_mut("spec");
    metrics.extend(spec.remove("targetCPUUtilizationPercentage").and_then(|it| it.as_i64()).map(cpu));
    if metrics.is_empty() {
        metrics.push(cpu(DEFAULT_UTILIZATION));
    }
    spec.insert("metrics".to_owned(), Value::Array(metrics));
    if let Some(behavior) = behavior.filter(|it| it.as_object().is_some_and(|map| !map.is_empty())) {
        spec.insert("behavior".to_owned(), behavior);
    }
    if let Some(Value::Object(new)) = object.0.get_mut("status") {
        if new.get("currentReplicas").is_some_and(|it| *it == 0) {
            new.remove("currentReplicas");
        }
        let utilization = new.remove("currentCPUUtilizationPercentage");
        let cpu = utilization.map(|it| {
            vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": it}}})]
        });
        if let Some(metrics) = statuses.or(cpu) {
            new.insert("currentMetrics".to_owned(), Value::Array(metrics));
        }
        if let Some(conditions) = conditions {
            new.insert("conditions".to_owned(), conditions);
        }
    }
    drop_carriers(object);
    object.0.insert("apiVersion".to_owned(), "autoscaling/v2".into());
}

/// From v2 to v1.
pub fn to_v1(object: &mut Object) {
    drop_carriers(object);
    let mut annotations: Vec<(&str, String)> = Vec::new();
    let spec = object.section_mut("spec");
    let metrics = spec.remove("metrics").unwrap_or_default();
    if let Some(first) = list(&metrics).iter().find(|it| is_cpu(it)) {
        let utilization = first["resource"]["target"]["averageUtilization"].clone();
        spec.insert("targetCPUUtilizationPercentage".to_owned(), utilization);
    }
    let others: Vec<Value> =
        list(&metrics).iter().filter(|it| !is_cpu(it)).map(|it| metric(it, Direction::Older)).collect();
    if !others.is_empty() {
        annotations.push((METRICS, written(&others, SPECS)));
    }
    if let Some(behavior) = spec.remove("behavior") {
        annotations.push((BEHAVIOR, Internal::read().compact("HorizontalPodAutoscalerBehavior", &behavior)));
    }
    if let Some(Value::Object(old)) = object.0.get_mut("status") {
        // v2 leaves a zero out.
        old.entry("currentReplicas").or_insert_with(|| 0.into());
        let current = old.remove("currentMetrics").unwrap_or_default();
        for it in list(&current).iter().filter(|it| text(&it["resource"]["name"]) == "cpu") {
            if let Some(share) = it["resource"]["current"].get("averageUtilization") {
                old.insert("currentCPUUtilizationPercentage".to_owned(), share.clone());
            }
        }
        let current: Vec<Value> = list(&current).iter().map(|it| status(it, Direction::Older)).collect();
        if !current.is_empty() {
            annotations.push((CURRENT, written(&current, STATUSES)));
        }
        if let Some(conditions) = old.remove("conditions").filter(|it| !list(it).is_empty()) {
            let shown = Internal::read().compact_list("HorizontalPodAutoscalerCondition", list(&conditions));
            annotations.push((CONDITIONS, shown));
        }
    }
    for (name, value) in annotations {
        map_mut(object.metadata_mut(), "annotations").insert(name.to_owned(), value.into());
    }
    object.0.insert("apiVersion".to_owned(), "autoscaling/v1".into());
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Newer,
    Older,
}

// How a field of a metric is called: the older path and the newer one.
type Names = &'static [(&'static str, &'static str)];

// The sources and their fields in the order in which Go writes the older form.
const SPECS: &[(&str, Names)] = &[
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("targetValue", "target.value"),
            ("selector", "metric.selector"),
            ("averageValue", "target.averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("targetAverageValue", "target.averageValue"),
            ("selector", "metric.selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
            ("container", "container"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
];

const STATUSES: &[(&str, Names)] = &[
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("currentValue", "current.value"),
            ("selector", "metric.selector"),
            ("averageValue", "current.averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("currentAverageValue", "current.averageValue"),
            ("selector", "metric.selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
            ("container", "container"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
];

// Amounts that the older form writes whether they are known or not.
const ALWAYS: &[(&str, &str)] = &[
    ("object", "targetValue"),
    ("pods", "targetAverageValue"),
    ("object", "currentValue"),
    ("pods", "currentAverageValue"),
    ("resource", "currentAverageValue"),
    ("containerResource", "currentAverageValue"),
    ("external", "currentValue"),
];

// Metrics of the older form as Go writes them.
fn written(metrics: &[Value], sources: &[(&str, Names)]) -> String {
    let internal = Internal::read();
    let member = |name: &str, value: &Value| {
        let value = match name {
            "target" => internal.compact("CrossVersionObjectReference", value),
            "selector" | "metricSelector" => internal.compact("LabelSelector", value),
            _ => escaped(value),
        };
        format!("\"{name}\":{value}")
    };
    let source = |metric: &Value, name: &str, names: Names| {
        let of = metric.get(name)?;
        let members = names.iter().filter_map(|(older, _)| Some(member(older, of.get(*older)?)));
        Some(format!("\"{name}\":{{{}}}", members.collect::<Vec<_>>().join(",")))
    };
    let metric = |metric: &Value| {
        let mut parts = vec![member("type", &metric["type"])];
        parts.extend(sources.iter().filter_map(|(name, names)| source(metric, name, names)));
        format!("{{{}}}", parts.join(","))
    };
    format!("[{}]", metrics.iter().map(metric).collect::<Vec<_>>().join(","))
}

fn metric(metric: &Value, direction: Direction) -> Value {
    let mut out = renamed(metric, SPECS, direction);
    if direction == Direction::Newer {
        for (source, _) in SPECS {
            if let Some(Value::Object(target)) = out.get_mut(*source).and_then(|it| it.get_mut("target")) {
                // The older form says by the field what the newer one names.
                let kind = if target.contains_key("averageUtilization") {
                    "Utilization"
                } else if target.contains_key("value") && !target.contains_key("averageValue") {
                    "Value"
                } else {
                    "AverageValue"
                };
                target.insert("type".to_owned(), kind.into());
            }
        }
    }
    out
}

fn status(status: &Value, direction: Direction) -> Value {
    renamed(status, STATUSES, direction)
}

fn renamed(metric: &Value, sources: &[(&str, Names)], direction: Direction) -> Value {
    let mut out = Map::new();
    out.insert("type".to_owned(), metric["type"].clone());
    for (source, names) in sources {
        let Some(from) = metric.get(*source) else { continue };
        let mut to = Map::new();
        for (older, newer) in *names {
            let (get, put) = match direction {
                Direction::Newer => (*older, *newer),
                Direction::Older => (*newer, *older),
            };
            let value = get.split('.').try_fold(from, |value, name| value.get(name));
            let zero = Value::from("0");
            let always = direction == Direction::Older && ALWAYS.contains(&(*source, *older));
            let Some(value) = value.or(always.then_some(&zero)) else { continue };
            match put.split_once('.') {
                None => to.insert(put.to_owned(), value.clone()),
                Some((outer, inner)) => map_mut(&mut to, outer).insert(inner.to_owned(), value.clone()),
            };
        }
        out.insert((*source).to_owned(), Value::Object(to));
    }
    Value::Object(out)
}

// Upstream writes the behavior with the names of its own Go fields: the first letter of each in another case.
// What is `null` goes.
fn recased(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().into_iter().flat_map(char::to_lowercase);
                (first.chain(letters).collect::<String>(), recased(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(recased).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn v1_without_a_metric_aims_at_cpu() {
        let mut it = object(json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3}}));
        to_v2(&mut it);
        let expected = json!({"apiVersion": "autoscaling/v2", "spec": {"maxReplicas": 3, "metrics": [cpu(80)]}, "metadata": {}});
        assert_eq!(it.into_value(), expected);
    }

    #[test]
    fn what_v1_has_no_field_for_comes_back() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "a", "annotations": {"x": "y"}},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
                    cpu(50),
                ],
                "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            },
            "status": {
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "1m"}}}],
            },
        });
        let mut it = object(v2.clone());
        to_v1(&mut it);
        assert_eq!(it.get(&["spec", "targetCPUUtilizationPercentage"]), Some(&json!(50)));
        assert_eq!(it.get(&["status", "currentCPUUtilizationPercentage"]), Some(&json!(7)));
        assert_eq!(
            it.annotation(METRICS),
            Some(r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1"}}]"#)
        );
        assert_eq!(
            it.annotation(CURRENT),
            Some(
                r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"1m"}}]"#
            )
        );
        assert_eq!(
            it.annotation(BEHAVIOR),
            Some(
                r#"{"ScaleUp":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#
            )
        );
        assert_eq!(
            it.annotation(CONDITIONS),
            Some(r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":null}]"#)
        );
        to_v2(&mut it);
        assert_eq!(it.into_value(), v2);
    }
}
