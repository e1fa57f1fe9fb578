//! Limit ranges.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, Quantity, format};
use serde_json::{Map, Value};

use crate::resources::{
    Column, Strategy, Write,
    columns::{CREATED_AT, NAME},
    tree::{count, entries, field, list, object_mut, objects_mut, text},
};

use super::quantities;

/// The behaviour of limit ranges.
pub struct LimitRanges;

impl Strategy for LimitRanges {
    fn default(&self, object: &mut Object) {
        let Some(spec) = object_mut(&mut object.0, "spec") else { return };
        for limit in
            objects_mut(spec, "limits").filter(|limit| limit.get("type").is_some_and(|it| it == "Container"))
        {
            fill(limit, "max", "default");
            fill(limit, "default", "defaultRequest");
            fill(limit, "min", "defaultRequest");
        }
        for limit in objects_mut(spec, "limits") {
            for amounts in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
                quantities::to_milli(limit, amounts);
            }
        }
    }

    fn prepare(&self, _write: &Write<'_>, new: &mut Object, _old: Option<&Object>) {
        // They alone need no name: they get one that nobody else has.
        if new.name().is_empty() {
            new.set_meta("name", Some(uuid::Uuid::new_v4().to_string().into()));
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec").child("limits");
        let mut errors = Vec::new();
        let mut types = BTreeSet::new();
        for (index, limit) in list(field(new, &["spec", "limits"])).iter().enumerate() {
            let path = path.index(index);
            let kind = text(&limit["type"]);
            errors.extend(type_faults(kind, &path.child("type")));
            if !types.insert(kind) {
                errors.push(FieldError::duplicate(&path.child("type"), kind));
            }
            errors.extend(limit_faults(kind, limit, &path));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

// Takes over what `to` does not have from `from`.
fn fill(limit: &mut Map<String, Value>, from: &str, to: &str) {
    let Some(Value::Object(source)) = limit.get(from).cloned() else { return };
    if source.is_empty() {
        return;
    }
    let target = crate::resources::tree::map_mut(limit, to);
    for (name, quantity) in source {
        target.entry(name).or_insert(quantity);
    }
}

fn type_faults(kind: &str, path: &FieldPath) -> Vec<FieldError> {
    let faults = format::qualified_name(kind);
    if !faults.is_empty() {
        return faults.into_iter().map(|fault| FieldError::invalid(path, kind, fault)).collect();
    }
    if kind.contains('/') || ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) {
        return Vec::new();
    }
    vec![FieldError::invalid(path, kind, "must be a standard limit type or fully qualified")]
}

fn limit_faults(kind: &str, limit: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    let mut bounds = |part: &str, errors: &mut Vec<FieldError>| {
        for (name, _) in entries(&limit[part]) {
            let path = path.child(part).key(name);
            errors.extend(if ["Pod", "Container"].contains(&kind) {
                quantities::container_name(name, &path)
            } else {
                quantities::name(name, &path)
            });
            names.insert(name.to_owned());
        }
    };
    bounds("max", &mut errors);
    bounds("min", &mut errors);
    for part in ["default", "defaultRequest"] {
        if kind != "Pod" {
            bounds(part, &mut errors);
        } else if count(&limit[part]) > 0 {
            let detail = "may not be specified when `type` is 'Pod'";
            errors.push(FieldError::forbidden(&path.child(part), detail));
        }
    }
    let storage = |part: &str| limit[part].get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
    bounds("maxLimitRequestRatio", &mut errors);
    for name in &names {
        errors.extend(order_faults(kind, limit, name, path));
    }
    errors
}

// Whether the bounds of one resource fit each other.
fn order_faults(kind: &str, limit: &Value, name: &str, path: &FieldPath) -> Vec<FieldError> {
    let get = |part: &str| -> Option<Quantity> { quantities::parse(text(limit[part].get(name)?)) };
    let (min, max, ratio) = (get("min"), get("max"), get("maxLimitRequestRatio"));
    let (default, request) = match kind {
        "Pod" => (None, None),
        _ => (get("default"), get("defaultRequest")),
    };
    let mut errors = Vec::new();
    // The value of `low` may not be above that of `high`; `shown` is what the error shows.
    let mut above = |low: &Option<Quantity>,
                     high: &Option<Quantity>,
                     at: &str,
                     shown: &Option<Quantity>,
                     say: [&str; 2]| {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let detail = format!("{} {low} is greater than {} {high}", say[0], say[1]);
            errors.push(FieldError::invalid(&path.child(at).key(name), shown.to_string(), detail));
        }
    };
    above(&min, &max, "min", &min, ["min value", "max value"]);
    above(&min, &request, "defaultRequest", &request, ["min value", "default request value"]);
    above(&request, &max, "defaultRequest", &request, ["default request value", "max value"]);
    above(&request, &default, "defaultRequest", &request, ["default request value", "default limit value"]);
    above(&min, &default, "default", &min, ["min value", "default value"]);
    above(&default, &max, "default", &max, ["default value", "max value"]);
    if let Some(ratio) = &ratio {
        let path = path.child("maxLimitRequestRatio").key(name);
        let value = ratio.approximate();
        if value < 1.0 {
            errors.push(FieldError::invalid(
                &path,
                ratio.to_string(),
                format!("ratio {ratio} is less than 1"),
            ));
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let most = max.approximate() / min.approximate();
            if value > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                errors.push(FieldError::invalid(&path, ratio.to_string(), detail));
            }
        }
    }
    if let (Some(default), Some(request), false) = (&default, &request, quantities::overcommits(name))
        && default != request
    {
        let path = path.child("defaultRequest").key(name);
        let detail =
            format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.push(FieldError::invalid(&path, request.to_string(), detail));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[NAME, CREATED_AT];
