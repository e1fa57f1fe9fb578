//! Resource slices.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, show},
    core::volume_sources::csi_driver,
    rules::IMMUTABLE,
    tree::{field, number, objects_mut, section, set, text, time},
};

/// The behaviour of resource slices.
pub struct ResourceSlices;

impl Strategy for ResourceSlices {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        for device in objects_mut(new.section_mut("spec"), "devices") {
            for taint in objects_mut(device, "taints").filter(|it| !it.get("timeAdded").is_some_and(set)) {
                taint.insert("timeAdded".to_owned(), time(write.now));
            }
        }
        crate::resources::prepare(write, new, old);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let (spec, path) = (section(new, "spec"), FieldPath::new("spec"));
        // Drivers are named as CSI drivers are.
        let mut errors = csi_driver(text(&spec["driver"]), &path.child("driver"));
        let pool = path.child("pool");
        if text(&spec["pool"]["name"]).is_empty() {
            errors.push(FieldError::required(&pool.child("name"), ""));
        }
        for (name, least, detail) in [
            ("resourceSliceCount", 1, "must be greater than zero"),
            ("generation", 0, "must be greater than or equal to zero"),
        ] {
            let value = number(&spec["pool"][name]);
            if value < least {
                errors.push(FieldError::invalid(&pool.child(name), value, detail));
            }
        }
        let where_from = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        if !where_from.iter().any(|name| set(&spec[*name])) {
            let detail =
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            errors.push(FieldError::required(&path, detail));
        }
        for name in ["driver", "nodeName"] {
            let now = field(new, &["spec", name]);
            if old.is_some_and(|old| field(old, &["spec", name]) != now) {
                errors.push(FieldError::invalid(&path.child(name), now.clone(), IMMUTABLE));
            }
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![
            ("spec.nodeName", object.get_str(&["spec", "nodeName"]).to_owned()),
            ("spec.driver", object.get_str(&["spec", "driver"]).to_owned()),
        ]
    }

    fn returns_deleted(&self) -> bool {
        true
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
