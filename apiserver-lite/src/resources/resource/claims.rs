//! Resource claims and their templates.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME},
    rules::IMMUTABLE,
    separate,
    tree::{field, list, map_mut, number, object_mut, objects_mut, or_default, section, set, text},
};

/// The behaviour of resource claims.
pub struct ResourceClaims;

/// The behaviour of resource claim templates.
pub struct ResourceClaimTemplates;

impl Strategy for ResourceClaims {
    fn default(&self, object: &mut Object) {
        default_spec(object.section_mut("spec"));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
        if old.is_none() {
            new.0.insert("status".to_owned(), json!({}));
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        match (write.part, old) {
            (Part::Status, _) => Vec::new(),
            (_, Some(old)) if section(old, "spec") != section(new, "spec") => {
                vec![FieldError::invalid(&path, section(new, "spec").clone(), IMMUTABLE)]
            }
            (_, Some(_)) => Vec::new(),
            (_, None) => spec(section(new, "spec"), &path),
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

impl Strategy for ResourceClaimTemplates {
    fn default(&self, object: &mut Object) {
        default_spec(map_mut(object.section_mut("spec"), "spec"));
    }

    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        match old {
            Some(old) if section(old, "spec") != section(new, "spec") => {
                vec![FieldError::invalid(&path, section(new, "spec").clone(), IMMUTABLE)]
            }
            Some(_) => Vec::new(),
            None => spec(field(new, &["spec", "spec"]), &path.child("spec")),
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn default_spec(spec: &mut Map<String, Value>) {
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

fn spec(spec: &Value, path: &FieldPath) -> Vec<FieldError> {
    const MOST: usize = 32;
    let requests = list(&spec["devices"]["requests"]);
    let path = path.child("devices").child("requests");
    let mut errors = Vec::new();
    if requests.len() > MOST {
        errors.push(FieldError::too_many(&path, requests.len(), MOST));
    }
    for (index, request) in requests.iter().enumerate() {
        let at = path.index(index);
        let (name, named) = (text(&request["name"]), at.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&named, ""));
        } else {
            let faults = format::dns1123_label(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&named, name, fault)));
            if requests[..index].iter().any(|it| text(&it["name"]) == name) {
                errors.push(FieldError::duplicate(&named, name));
            }
        }
        match (set(&request["exactly"]), list(&request["firstAvailable"]).is_empty()) {
            (true, false) => errors.push(FieldError::invalid(
                &at,
                Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            )),
            (false, true) => errors
                .push(FieldError::required(&at, "exactly one of `exactly` or `firstAvailable` is required")),
            _ => {}
        }
        let exactly = &request["exactly"];
        if set(exactly) && text(&exactly["deviceClassName"]).is_empty() {
            errors.push(FieldError::required(&at.child("exactly").child("deviceClassName"), ""));
        }
    }
    errors
}

fn state(claim: &Object) -> String {
    let mut states = Vec::new();
    if claim.deleting() {
        states.push("deleted");
    }
    if set(field(claim, &["status", "allocation"])) {
        states.push("allocated");
        if !list(field(claim, &["status", "reservedFor"])).is_empty() {
            states.push("reserved");
        }
    } else if !claim.deleting() {
        states.push("pending");
    }
    states.join(",")
}

/// The columns of claims.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "State",
        "string",
        "A summary of the current state (allocated, pending, reserved, etc.).",
        |it, _| state(it).into(),
    ),
    AGE,
];

/// The columns of templates.
pub static TEMPLATE_COLUMNS: &[Column] = &[NAME, AGE];
