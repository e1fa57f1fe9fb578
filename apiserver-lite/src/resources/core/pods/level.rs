//! The resources that a pod has as a whole: what they are by default where some
//! are given.

use coracle_api::Object;
use serde_json::{Value, json};

use super::resources::{Amounts, amounts, of_pods, sum};
use crate::resources::core::quantities::{huge_pages, overcommits};

/// Completes `spec.resources` from those of the containers.
pub fn defaults(pod: &mut Object) {
    let Some(spec) = pod.0.get("spec") else { return };
    let Some(own) = spec.get("resources") else { return };
    let (mut requests, mut limits) = (amounts(own.get("requests")), amounts(own.get("limits")));
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    for (name, limit) in sum(spec, "limits").into_iter().filter(|(name, _)| huge_pages(name)) {
        if !requests.contains_key(&name) {
            limits.entry(name).or_insert(limit);
        }
    }
    for (name, request) in sum(spec, "requests") {
        if of_pods(&name) && overcommits(&name) {
            requests.entry(name).or_insert(request);
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| of_pods(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    raise_limits(spec, &requests, &mut limits);
    let spec = pod.section_mut("spec");
    let Some(own) = spec.get_mut("resources").and_then(Value::as_object_mut) else { return };
    for (field, list) in [("requests", requests), ("limits", limits)] {
        let texts = list.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string())));
        if !list.is_empty() {
            own.insert(field.to_owned(), Value::Object(texts.collect()));
        }
    }
}

// Where every container has a limit, so has the pod: their sum, or what it
// requests if that is more.
fn raise_limits(spec: &Value, requests: &Amounts, limits: &mut Amounts) {
    let containers = || {
        let fields = ["initContainers", "containers", "ephemeralContainers"];
        fields.into_iter().filter_map(|field| spec.get(field)?.as_array()).flatten()
    };
    let limited = |name: &str| containers().all(|it| it["resources"]["limits"].get(name).is_some());
    let sums = sum(spec, "limits");
    for (name, request) in requests.iter().filter(|(name, _)| of_pods(name) && limited(name)) {
        if let Some(sum) = sums.get(name).filter(|_| !limits.contains_key(name)) {
            limits.insert(name.clone(), sum.max(request).clone());
        }
    }
}
