//! The devices of a slice and the counters that they share.

use coracle_api::{FieldError, FieldPath, format};
use serde_json::{Map, Value};

use super::{
    parts::{binding, invalid, qualified_name, taint},
    policies,
};
use crate::resources::{
    core::node_selectors,
    rules::{self, Errors, Place},
    tree::{count, entries, list, object_mut, objects_mut, set, text},
};

const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Takes out what is not served yet.
pub fn drop_disabled(spec: &mut Map<String, Value>) {
    spec.remove("partitionTypeAttribute");
    spec.remove("skipNodeOperations");
    for device in objects_mut(spec, "devices") {
        device.remove("nodeAllocatableResources");
        for consumption in objects_mut(device, "consumesCounters") {
            consumption.remove("compatibilityGroups");
        }
        let attributes = object_mut(device, "attributes").into_iter().flat_map(|map| map.values_mut());
        for attribute in attributes.filter_map(Value::as_object_mut) {
            LISTS.iter().for_each(|name| drop(attribute.remove(*name)));
        }
    }
}

/// What is wrong with the devices of a slice, but for what is declared.
pub fn all(spec: &Value, old: Option<&Value>, path: &FieldPath) -> Errors {
    const MOST: usize = 128;
    const MOST_ADVANCED: usize = 64;
    let (devices, path) = (list(&spec["devices"]), path.child("devices"));
    let is_advanced = |it: &Value| count(&it["taints"]) > 0 || count(&it["consumesCounters"]) > 0;
    let most = if devices.iter().any(is_advanced) { MOST_ADVANCED } else { MOST };
    if devices.len() > most {
        return vec![FieldError::too_many(&path, devices.len(), most)];
    }
    let each = spec["perDeviceNodeSelection"] == true;
    let before = old.map_or(&[][..], |old| list(&old["devices"]));
    let mut errors = Errors::new();
    for (index, it) in devices.iter().enumerate() {
        let old = before.iter().find(|old| text(&old["name"]) == text(&it["name"]));
        errors.extend(device(it, old, each, &path.index(index)));
    }
    let names: Vec<&str> = devices.iter().map(|it| text(&it["name"])).collect();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|earlier| earlier == name) {
            errors.push(FieldError::duplicate(&path.index(index), *name));
        }
    }
    errors
}

/// What is wrong with the sets of counters of a slice, but for what is declared.
pub fn counter_sets(spec: &Value, path: &FieldPath) -> Errors {
    const MOST: usize = 8;
    let sets = list(&spec["sharedCounters"]);
    let path = path.child("sharedCounters");
    let many = |(index, it): (usize, &Value)| too_many_counters(it, &path.index(index));
    sets.iter().enumerate().filter(|_| sets.len() <= MOST).filter_map(many).collect()
}

fn too_many_counters(holder: &Value, path: &FieldPath) -> Option<FieldError> {
    const MOST: usize = 32;
    let counters = count(&holder["counters"]);
    (counters > MOST).then(|| FieldError::too_many(&path.child("counters"), counters, MOST))
}

fn device(device: &Value, old: Option<&Value>, each: bool, path: &FieldPath) -> Errors {
    const MOST_NAMES: usize = 32;
    const MOST_VALUES: usize = 48;
    const MOST_TAINTS: usize = 16;
    const MOST_CONSUMPTIONS: usize = 2;
    let name = text(&device["name"]);
    let mut errors = invalid(&path.child("name"), name, format::dns1123_label(name));
    let values = count(&device["attributes"]);
    let names = values + count(&device["capacity"]);
    if names > MOST_NAMES {
        let detail = format!("the total number of attributes and capacities must not exceed {MOST_NAMES}");
        errors.push(FieldError::invalid(path, names, detail));
    }
    if values > MOST_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MOST_VALUES}");
        errors.push(FieldError::invalid(path, values, detail));
    }
    let at = path.child("attributes");
    for (name, it) in entries(&device["attributes"]) {
        errors.extend(qualified_name(name, &at));
        errors.extend(attribute(it, &at.key(&shortened(name))));
    }
    let at = path.child("capacity");
    let shared = device["allowMultipleAllocations"] == true;
    let is_new = |field: &str| old.is_none_or(|old| old[field] != device[field]);
    for (name, it) in entries(&device["capacity"]).filter(|_| is_new("capacity")) {
        errors.extend(qualified_name(name, &at));
        errors.extend(capacity(it, shared, &at.key(&shortened(name)).child("requestPolicy")));
    }
    let (taints, at) = (list(&device["taints"]), path.child("taints"));
    if is_new("taints") && taints.len() > MOST_TAINTS {
        errors.push(FieldError::too_many(&at, taints.len(), MOST_TAINTS));
    } else if is_new("taints") {
        errors.extend(taints.iter().enumerate().flat_map(|(index, it)| taint(it, &at.index(index))));
    }
    let (consumed, at) = (list(&device["consumesCounters"]), path.child("consumesCounters"));
    if consumed.len() <= MOST_CONSUMPTIONS {
        let many = |(index, it)| too_many_counters(it, &at.index(index));
        errors.extend(consumed.iter().enumerate().filter_map(many));
    }
    errors.extend(nodes(device, each, path));
    errors.extend(binding(device, path));
    errors
}

// From where a device can be reached, where its slice does not say.
fn nodes(device: &Value, each: bool, path: &FieldPath) -> Errors {
    const DETAIL: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut errors = Errors::new();
    if !each {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|name| set(&device[*name])) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        return errors;
    }
    let mut given = Vec::new();
    if let Some(name) = device["nodeName"].as_str() {
        let at = path.child("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(&at, name, "must not be empty"));
        } else {
            given.push("`nodeName`");
            errors.extend(invalid(&at, name, format::dns1123_subdomain(name)));
        }
    }
    let selector = &device["nodeSelector"];
    if set(selector) {
        given.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        rules::check(node_selectors::SELECTOR, &Place::at(at.as_str(), selector, None), &mut errors);
    }
    match device["allNodes"].as_bool() {
        Some(true) => given.push("`allNodes`"),
        Some(false) => {
            let detail = "must be either unset or set to true";
            errors.push(FieldError::invalid(&path.child("allNodes"), false, detail));
        }
        None => {}
    }
    match given.as_slice() {
        [] => errors.push(FieldError::required(path, DETAIL)),
        [_] => {}
        several => errors.push(FieldError::invalid(path, format!("{{{}}}", several.join(", ")), DETAIL)),
    }
    errors
}

fn attribute(attribute: &Value, path: &FieldPath) -> Errors {
    const LONGEST: usize = 64;
    let mut errors = Errors::new();
    for name in ["string", "version"] {
        let Some(value) = attribute[name].as_str() else { continue };
        let path = path.child(name);
        if name == "version" && !is_semantic(value) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&path, value, detail));
        }
        if value.len() > LONGEST {
            errors.push(FieldError::too_long(&path, LONGEST));
        }
    }
    errors
}

// A version as semver.org has it.
fn is_semantic(version: &str) -> bool {
    let (version, build) = version.split_once('+').map_or((version, None), |(it, build)| (it, Some(build)));
    let (core, before) = version.split_once('-').map_or((version, None), |(it, before)| (it, Some(before)));
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let number = |it: &str| digits(it) && (it == "0" || !it.starts_with('0'));
    let word =
        |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before.is_none_or(|it| it.split('.').all(|it| word(it) && (!digits(it) || number(it))))
        && build.is_none_or(|it| it.split('.').all(word))
}

fn capacity(capacity: &Value, shared: bool, path: &FieldPath) -> Errors {
    match &capacity["requestPolicy"] {
        Value::Null => Errors::new(),
        _ if !shared => vec![FieldError::forbidden(path, "allowMultipleAllocations must be true")],
        policy => policies::policy(text(&capacity["value"]), policy, path),
    }
}

// A long key in a path is shown without its middle.
fn shortened(key: &str) -> String {
    const LONGEST: usize = 63 + 1 + 32;
    if key.len() <= LONGEST {
        return key.to_owned();
    }
    let rest = LONGEST - "...".len();
    let start: String = key.chars().take(rest.div_ceil(2)).collect();
    let end: String = key.chars().skip(key.chars().count().saturating_sub(rest / 2)).collect();
    format!("{start}...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions() {
        for good in ["1.2.3", "0.0.0", "1.2.3-a.1+b.01", "1.0.0-0a"] {
            assert!(is_semantic(good), "{good}");
        }
        for bad in ["", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "a", "1.2.3.4"] {
            assert!(!is_semantic(bad), "{bad}");
        }
    }
}
