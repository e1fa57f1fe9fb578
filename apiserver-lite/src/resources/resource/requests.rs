//! Which devices a claim asks for.

use coracle_api::{FieldError, FieldPath, format};
use serde_json::{Map, Value};

use super::{
    parts::{Names, configuration, invalid, selectors, tolerations},
    types::MODES,
};
use crate::resources::{
    rules::Errors,
    tree::{list, number, object_mut, objects_mut, or_default, set, text},
};

/// The defaults of a claim's spec.
pub fn default_spec(spec: &mut Map<String, Value>) {
    let Some(devices) = object_mut(spec, "devices") else { return };
    for request in objects_mut(devices, "requests") {
        if let Some(exactly) = object_mut(request, "exactly") {
            default_request(exactly);
        }
        objects_mut(request, "firstAvailable").for_each(default_request);
    }
}

fn default_request(request: &mut Map<String, Value>) {
    or_default(request, "allocationMode", "ExactCount");
    let exact = request.get("allocationMode").is_some_and(|mode| mode == "ExactCount");
    if exact && request.get("count").map_or(0, number) == 0 {
        request.insert("count".to_owned(), 1.into());
    }
    for toleration in objects_mut(request, "tolerations") {
        or_default(toleration, "operator", "Equal");
    }
}

/// Takes out what is not served yet.
pub fn drop_disabled(spec: &mut Map<String, Value>) {
    let Some(devices) = object_mut(spec, "devices") else { return };
    for request in objects_mut(devices, "requests") {
        if let Some(exactly) = object_mut(request, "exactly") {
            exactly.remove("derivedAttributes");
        }
        objects_mut(request, "firstAvailable").for_each(|it| drop(it.remove("derivedAttributes")));
    }
}

/// Which request asks for devices as an administrator.
pub fn of_administrator(devices: &Value) -> Option<usize> {
    list(&devices["requests"]).iter().position(|it| it["exactly"]["adminAccess"] == true)
}

/// What is wrong with the spec of a claim, but for what is declared.
pub fn spec(spec: &Value, path: &FieldPath) -> Errors {
    const MOST: usize = 32;
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let names = Names::of(devices);
    let mut errors = Errors::new();
    // What is too long is declared to be wrong, and not looked at.
    let within = |name: &str| {
        let items = list(&devices[name]);
        if items.len() > MOST { &[][..] } else { items }
    };
    for (index, it) in within("requests").iter().enumerate() {
        errors.extend(request(it, &path.child("requests").index(index)));
    }
    for (index, it) in within("constraints").iter().enumerate() {
        let path = path.child("constraints").index(index);
        errors.extend(names.refuse_all(&it["requests"], &path.child("requests")));
        if !set(&it["matchAttribute"]) && !set(&it["distinctAttribute"]) {
            let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(&path, detail));
        }
    }
    for (index, it) in within("config").iter().enumerate() {
        let path = path.child("config").index(index);
        errors.extend(names.refuse_all(&it["requests"], &path.child("requests")));
        errors.extend(configuration(it, &path, false));
    }
    errors
}

fn request(request: &Value, path: &FieldPath) -> Errors {
    const MOST: usize = 8;
    let name = text(&request["name"]);
    let mut errors = invalid(&path.child("name"), name, format::dns1123_label(name));
    let (exactly, several) = (&request["exactly"], list(&request["firstAvailable"]));
    match (set(exactly), several.is_empty()) {
        (true, false) => errors.push(FieldError::invalid(
            path,
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (false, true) => errors
            .push(FieldError::required(path, "exactly one of `exactly` or `firstAvailable` is required")),
        (true, true) => {
            let path = path.child("exactly");
            match text(&exactly["deviceClassName"]) {
                "" => errors.push(FieldError::required(&path.child("deviceClassName"), "")),
                name => {
                    let faults = format::dns1123_subdomain(name);
                    errors.extend(invalid(&path.child("deviceClassName"), name, faults));
                }
            }
            errors.extend(devices(exactly, &path));
        }
        (false, false) if several.len() > MOST => {}
        (false, false) => {
            for (index, it) in several.iter().enumerate() {
                let path = path.child("firstAvailable").index(index);
                let name = text(&it["name"]);
                errors.extend(invalid(&path.child("name"), name, format::dns1123_label(name)));
                errors.extend(devices(it, &path));
            }
        }
    }
    errors
}

// What requests and those within them have in common.
fn devices(request: &Value, path: &FieldPath) -> Errors {
    let mut errors = selectors(&request["selectors"], &path.child("selectors"), false);
    let (mode, count) = (text(&request["allocationMode"]), number(&request["count"]));
    let at = path.child("count");
    match mode {
        "All" if count != 0 => {
            errors.push(FieldError::invalid(
                &at,
                count,
                "must not be specified when allocationMode is 'All'",
            ));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&at, count, "must be greater than zero"))
        }
        "" => errors.push(FieldError::not_supported(&path.child("allocationMode"), "", MODES)),
        _ => {}
    }
    errors.extend(tolerations(&request["tolerations"], &path.child("tolerations")));
    errors
}
