//! Resource requirements: what containers and pods ask for and may use, their
//! sum, and the quality of service that follows.

use std::collections::{BTreeMap, HashSet};

use coracle_api::{FieldError, FieldPath, Object, Quantity, format};
use serde_json::{Map, Value};

use super::spec::Names;
use crate::resources::{
    core::quantities::{container_name, huge_pages, name, overcommits, quantity_of},
    rules::{Errors, Place},
};

/// Resources by name. What is no quantity counts as 0: decoding refused it.
pub type Amounts = BTreeMap<String, Quantity>;

/// The quantities of a resource list.
pub fn amounts(list: Option<&Value>) -> Amounts {
    let map = list.and_then(Value::as_object);
    let pairs = map.into_iter().flatten().map(|(name, value)| (name.clone(), quantity(value)));
    pairs.collect()
}

/// One quantity; JSON lets it be a number too.
pub fn quantity(value: &Value) -> Quantity {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Quantity::parse(&text).unwrap_or_default()
}

/// Whether pods may have it as a whole.
pub fn of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || huge_pages(name)
}

fn name_of_pod(resource: &str, path: &FieldPath) -> Errors {
    let mut errors = name(resource, path);
    if errors.is_empty() && !of_pods(resource) {
        errors.push(FieldError::not_supported(path, resource, &["cpu", "hugepages-", "memory"]));
    }
    errors
}

/// A container's `resources`.
pub fn of_container(container: &Place<'_>, errors: &mut Errors) {
    if let Some(resources) = container.field("resources") {
        requirements(&resources, container_name, errors);
    }
}

/// A pod's `overhead`, which is checked as limits are.
pub fn overhead(spec: &Place<'_>, errors: &mut Errors) {
    let Some(overhead) = spec.field("overhead") else { return };
    // Upstream's path has the limits in it.
    limits(Some(overhead.value()), &overhead.path(), errors);
}

fn one(
    resource: &str,
    quantity: &Quantity,
    list: &FieldPath,
    named: fn(&str, &FieldPath) -> Errors,
    errors: &mut Errors,
) {
    let path = list.key(resource);
    errors.extend(named(resource, &path));
    errors.extend(quantity_of(resource, quantity, &path));
}

fn requirements(resources: &Place<'_>, named: fn(&str, &FieldPath) -> Errors, errors: &mut Errors) {
    let (limits, requests) = (amounts(resources.get("limits")), amounts(resources.get("requests")));
    let (limits_path, requests_path) = (resources.path_of("limits"), resources.path_of("requests"));
    each_limit(&limits, &limits_path, named, errors);
    for (resource, request) in &requests {
        one(resource, request, &requests_path, named, errors);
        let mut wrong = |detail: String| {
            errors.push(FieldError::invalid(&requests_path, request.to_string(), detail));
        };
        match limits.get(resource) {
            Some(limit) if request != limit && !overcommits(resource) => {
                wrong(format!("must be equal to {resource} limit of {limit}"));
            }
            Some(limit) if request > limit => {
                wrong(format!("must be less than or equal to {resource} limit of {limit}"));
            }
            None if !overcommits(resource) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&limits_path, detail));
            }
            _ => {}
        }
        pages(resource, request, &requests_path, errors);
    }
    alone(limits.keys().chain(requests.keys()), &resources.path(), errors);
    claims(resources, errors);
}

/// What stands alone, checked as a container's limits are; `path` is the path
/// of what has the limits.
pub fn limits(list: Option<&Value>, path: &FieldPath, errors: &mut Errors) {
    let limits = amounts(list);
    each_limit(&limits, &path.child("limits"), container_name, errors);
    alone(limits.keys(), path, errors);
}

fn each_limit(
    limits: &Amounts,
    path: &FieldPath,
    named: fn(&str, &FieldPath) -> Errors,
    errors: &mut Errors,
) {
    for (resource, limit) in limits {
        one(resource, limit, path, named, errors);
        pages(resource, limit, path, errors);
    }
}

// Huge pages go with cpu or memory.
fn alone<'a>(names: impl Iterator<Item = &'a String> + Clone, path: &FieldPath, errors: &mut Errors) {
    let any = |wanted: fn(&str) -> bool| names.clone().any(|name| wanted(name));
    if any(huge_pages) && !any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn pages(resource: &str, quantity: &Quantity, list: &FieldPath, errors: &mut Errors) {
    let Some(size) = resource.strip_prefix("hugepages-") else { return };
    let size = Quantity::parse(size).unwrap_or_default();
    let whole = size.sign() > 0 && size.milli_value() % 1000 == 0 && size.value() > 0;
    if !whole || quantity.value() % size.value() != 0 {
        let detail = format!("{quantity} is not positive integer multiple of {resource}");
        errors.push(FieldError::invalid(&list.key(resource), quantity.to_string(), detail));
    }
}

fn claims(resources: &Place<'_>, errors: &mut Errors) {
    let Some(list) = resources.field("claims") else { return };
    let mut seen: HashSet<String> = HashSet::new();
    // Claims of which a single request was named.
    let mut parts: HashSet<&str> = HashSet::new();
    for claim in list.items() {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(FieldError::required(&claim.path(), ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&claim.path(), name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                let faults = format::dns1123_label(request).into_iter();
                errors.extend(faults.map(|it| FieldError::invalid(&claim.path_of("request"), request, it)));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(&claim.path(), key.as_str()));
            } else if request.is_empty() && parts.contains(name) {
                errors.push(FieldError::duplicate(&claim.path(), name));
            }
            if !request.is_empty() {
                parts.insert(name);
            }
            seen.insert(key);
        }
        let Some(names) = claim.known::<Names>() else { continue };
        if !names.claims.contains(name) {
            let known: Vec<&str> = names.claims.iter().map(String::as_str).collect();
            let mut error = FieldError::not_found(&claim.path(), name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            error.detail += &if known.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", known.join(", "))
            };
            errors.push(error);
        }
    }
}

/// A pod's own `resources`.
pub fn of_pod(spec: &Place<'_>, errors: &mut Errors) {
    let Some(resources) = spec.field("resources") else { return };
    if spec.get("os").is_some_and(|os| os["name"] == "windows") {
        errors.push(FieldError::forbidden(&resources.path(), "may not be set for a windows pod"));
        return;
    }
    if resources.has("claims") {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&resources.path_of("claims"), detail));
    }
    requirements(&resources, name_of_pod, errors);
    covers_containers(spec, &resources, errors);
}

fn covers_containers(spec: &Place<'_>, resources: &Place<'_>, errors: &mut Errors) {
    let (requests, limits) = (amounts(resources.get("requests")), amounts(resources.get("limits")));
    for (resource, sum) in sum(spec.value(), "requests") {
        if let Some(request) = requests.get(&resource).filter(|request| sum > **request) {
            let path = resources.path_of("requests").key(&resource);
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(&path, request.to_string(), detail));
        }
    }
    for (resource, sum) in
        sum(spec.value(), "limits").into_iter().filter(|(resource, _)| huge_pages(resource))
    {
        if let Some(limit) = limits.get(&resource).filter(|limit| sum > **limit) {
            let path = resources.path_of("limits").key(&resource);
            let detail = format!("must be greater than or equal to aggregate container limits of {sum}");
            errors.push(FieldError::invalid(&path, limit.to_string(), detail));
        }
    }
    for (index, container) in spec.list("containers").iter().enumerate() {
        for (resource, own) in amounts(container["resources"].get("limits")) {
            if let Some(limit) = limits.get(&resource).filter(|limit| own > **limit) {
                // Upstream's path goes through the pod's resources.
                let path = resources.path_of("containers").index(index).key(&resource).child("limits");
                let detail = format!("must be less than or equal to pod limits of {limit}");
                errors.push(FieldError::invalid(&path, own.to_string(), detail));
            }
        }
    }
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        let sum = sum.entry(name.clone()).or_default();
        *sum = if sum.is_zero() { quantity.clone() } else { sum.plus(quantity) };
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, quantity) in other {
        if most.get(name).is_none_or(|most| quantity > most) {
            most.insert(name.clone(), quantity.clone());
        }
    }
}

/// What a pod's containers ask for (`requests`) or may use (`limits`) at most
/// at one time: regular containers and sidecars run together, init containers
/// one by one beside the sidecars that came before them.
pub fn sum(spec: &Value, kind: &str) -> Amounts {
    let list = |field: &str| spec.get(field).and_then(Value::as_array).into_iter().flatten();
    let of = |container: &Value| amounts(container.get("resources").and_then(|it| it.get(kind)));
    let mut running = Amounts::new();
    list("containers").for_each(|container| add(&mut running, &of(container)));
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        let mut own = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut starting, &own);
    }
    raise(&mut running, &starting);
    running
}

/// `sum` with what the pod as a whole says of the resources that are its to say.
pub fn level(spec: &Value, kind: &str, mut sum: Amounts) -> Amounts {
    let own = amounts(spec.get("resources").and_then(|it| it.get(kind)));
    sum.extend(own.into_iter().filter(|(name, _)| of_pods(name)));
    sum
}

/// What a pod asks for in all, its overhead with it.
pub fn requests(pod: &Object) -> Amounts {
    let null = Value::Null;
    let spec = pod.0.get("spec").unwrap_or(&null);
    let mut all = level(spec, "requests", sum(spec, "requests"));
    add(&mut all, &amounts(spec.get("overhead")));
    all
}

/// The quality of service of a pod: `Guaranteed`, `Burstable`, `BestEffort`.
pub fn quality(pod: &Object) -> &'static str {
    let null = Value::Null;
    let spec = pod.0.get("spec").unwrap_or(&null);
    let whole = spec.get("resources").filter(|resources| {
        let names = |kind: &str| resources.get(kind).and_then(Value::as_object);
        let named =
            |map: Option<&Map<String, Value>>| map.is_some_and(|map| map.keys().any(|it| of_pods(it)));
        named(names("requests")) || named(names("limits"))
    });
    if let Some(resources) = whole {
        return quality_of(resources);
    }
    let mut found = None;
    for field in ["initContainers", "containers"] {
        for container in spec.get(field).and_then(Value::as_array).into_iter().flatten() {
            let own = quality_of(&container["resources"]);
            match found {
                _ if own == "Burstable" => return own,
                None => found = Some(own),
                Some(found) if found != own => return "Burstable",
                Some(_) => {}
            }
        }
    }
    found.unwrap_or("BestEffort")
}

fn quality_of(resources: &Value) -> &'static str {
    let (requests, limits) = (amounts(resources.get("requests")), amounts(resources.get("limits")));
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let zero = Quantity::default();
    let of = |name: &str| {
        let (request, limit) = (requests.get(name).unwrap_or(&zero), limits.get(name).unwrap_or(&zero));
        match request {
            request if request != limit => "Burstable",
            request if request.is_zero() => "BestEffort",
            _ => "Guaranteed",
        }
    };
    if of("cpu") == of("memory") { of("cpu") } else { "Burstable" }
}
