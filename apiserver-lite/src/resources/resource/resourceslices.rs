//! Resource slices.

use coracle_api::{FieldError, FieldPath, Object, field::go_quote, format};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    devices,
    parts::{invalid, pool_name},
    types,
};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    core::{node_selectors, volume_sources::csi_driver},
    declared,
    rules::{self, IMMUTABLE, Place},
    tree::{field, list, number, objects_mut, section, set, text, time},
    workloads::showing_list,
};

/// The behaviour of resource slices.
pub struct ResourceSlices;

impl Strategy for ResourceSlices {
    fn default_at(&self, object: &mut Object, now: Timestamp) {
        for device in objects_mut(object.section_mut("spec"), "devices") {
            for taint in objects_mut(device, "taints").filter(|it| !it.get("timeAdded").is_some_and(set)) {
                taint.insert("timeAdded".to_owned(), time(now));
            }
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        // Upstream counts a change before it takes out what is not served yet.
        crate::resources::prepare(write, new, old);
        devices::drop_disabled(new.section_mut("spec"));
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = slice(new, old);
        declared::check(types::SLICE, &Place::object(new, old), &mut errors);
        errors
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<String> {
        let driver = new.get_str(&["spec", "driver"]);
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let quoted = go_quote(driver);
        vec![format!("spec.driver: driver names should be lowercase; {quoted} contains uppercase characters")]
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver", "spec.pool.name"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![
            ("spec.nodeName", object.get_str(&["spec", "nodeName"]).to_owned()),
            ("spec.driver", object.get_str(&["spec", "driver"]).to_owned()),
            ("spec.pool.name", object.get_str(&["spec", "pool", "name"]).to_owned()),
        ]
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn slice(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let (spec, path) = (section(new, "spec"), FieldPath::new("spec"));
    // Drivers are named as CSI drivers are.
    let mut errors = csi_driver(text(&spec["driver"]), &path.child("driver"));
    let pool = path.child("pool");
    errors.extend(pool_name(text(&spec["pool"]["name"]), &pool.child("name")));
    for (name, least, detail) in [
        ("resourceSliceCount", 1, "must be greater than zero"),
        ("generation", 0, "must be greater than or equal to zero"),
    ] {
        let value = number(&spec["pool"][name]);
        if value < least {
            errors.push(FieldError::invalid(&pool.child(name), value, detail));
        }
    }
    if let Some(old) = old {
        for (at, names) in [
            (pool.child("name"), &["spec", "pool", "name"][..]),
            (path.child("driver"), &["spec", "driver"]),
            (path.child("nodeName"), &["spec", "nodeName"]),
        ] {
            if field(old, names) != field(new, names) {
                errors.push(FieldError::invalid(&at, field(new, names).clone(), IMMUTABLE));
            }
        }
    }
    nodes(spec, &path, &mut errors);
    if set(&spec["sharedCounters"]) && set(&spec["devices"]) {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&path, "", detail));
    }
    errors.extend(devices::all(spec, old.map(|old| section(old, "spec")), &path));
    errors.extend(devices::counter_sets(spec, &path));
    errors
}

// From where the devices can be reached: said once.
fn nodes(spec: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    const DETAIL: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut given = Vec::new();
    if let Some(name) = spec["nodeName"].as_str() {
        let at = path.child("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(&at, name, "must be either unset or set to a non-empty string"));
        } else {
            given.push("`nodeName`");
            errors.extend(invalid(&at, name, format::dns1123_subdomain(name)));
        }
    }
    let selector = &spec["nodeSelector"];
    if set(selector) {
        given.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        rules::check(node_selectors::SELECTOR, &Place::at(at.as_str(), selector, None), errors);
        let terms = list(&selector["nodeSelectorTerms"]);
        if terms.len() != 1 {
            let at = at.child("nodeSelectorTerms");
            let detail = "must have exactly one node selector term";
            let error = FieldError::invalid(&at, selector["nodeSelectorTerms"].clone(), detail);
            errors.push(showing_list(error, "NodeSelectorTerm", terms));
        }
    }
    for (name, quoted) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        match spec[name].as_bool() {
            Some(true) => given.push(quoted),
            Some(false) => {
                let detail = "must be either unset or set to true";
                errors.push(FieldError::invalid(&path.child(name), false, detail));
            }
            None => {}
        }
    }
    match given.as_slice() {
        [] => errors.push(FieldError::required(path, DETAIL)),
        [_] => {}
        several => {
            let shown = format!("{{{}}}", several.join(", "));
            let detail = format!("{DETAIL}, but multiple fields are set");
            errors.push(FieldError::invalid(path, shown, detail));
        }
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Node",
        "string",
        "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable.",
        |it, _| show(it, &["spec", "nodeName"]),
    ),
    Column::new(
        "Driver",
        "string",
        "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable.",
        |it, _| show(it, &["spec", "driver"]),
    ),
    Column::new(
        "Pool",
        "string",
        "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required. A field selector can be used to list only ResourceSlice objects belonging to a certain pool.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable.",
        |it, _| show(it, &["spec", "pool", "name"]),
    ),
    AGE,
];
