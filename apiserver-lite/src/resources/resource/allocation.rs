//! What was allocated to a claim, and what drivers say of it.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use super::parts::{Names, binding, configuration, invalid, pool_name, raw, tolerations};
use crate::resources::{
    conditions::conditions,
    core::{node_selectors, volume_sources::csi_driver},
    rules::{self, Errors, Place},
    tree::{field, list, section, set, text},
};

/// What is wrong with the status of a claim, but for what is declared.
pub fn status(new: &Object, old: &Object) -> Errors {
    const MOST_USERS: usize = 256;
    let path = FieldPath::new("status");
    let (status, before) = (section(new, "status"), section(old, "status"));
    let names = Names::of(field(new, &["spec", "devices"]));
    let mut errors = Errors::new();
    let users = list(&status["reservedFor"]);
    if users.len() <= MOST_USERS {
        for (index, user) in users.iter().enumerate() {
            let path = path.child("reservedFor").index(index);
            for name in ["resource", "name", "uid"].iter().filter(|name| text(&user[**name]).is_empty()) {
                errors.push(FieldError::required(&path.child(name), ""));
            }
        }
    }
    let allocated = Devices::allocated(status);
    let place = Place::object(new, None);
    if let Some(status) = place.field("status")
        && let Some(devices) = status.field("devices")
    {
        devices.items().for_each(|it| device(&it, &allocated, &mut errors));
    }
    let allocation = &status["allocation"];
    let reserved = path.child("reservedFor");
    if !users.is_empty() && !set(allocation) {
        errors.push(FieldError::forbidden(&reserved, "may not be specified when `allocated` is not set"));
    } else if new.deleting() && users.iter().any(|user| !list(&before["reservedFor"]).contains(user)) {
        let detail =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(&reserved, detail));
    }
    if set(allocation) && !set(&before["allocation"]) {
        errors.extend(result(allocation, &path.child("allocation"), &names));
    }
    errors
}

/// Takes out what drivers said of devices that are allocated no longer.
pub fn drop_deallocated(new: &mut Object, old: &Object) {
    let (before, now) =
        (Devices::allocated(section(old, "status")), Devices::allocated(section(new, "status")));
    let Some(Value::Object(status)) = new.0.get_mut("status") else { return };
    let Some(Value::Array(devices)) = status.get_mut("devices") else { return };
    devices.retain(|it| {
        let device = identity(it);
        now.0.contains(&device) || !before.0.contains(&device)
    });
    if devices.is_empty() {
        status.remove("devices");
    }
}

/// Takes out what is not served yet.
pub fn drop_disabled(new: &mut Object) {
    let Some(status) = new.0.get_mut("status") else { return };
    let results = status.pointer_mut("/allocation/devices/results").and_then(Value::as_array_mut);
    for result in results.into_iter().flatten().filter_map(Value::as_object_mut) {
        result.remove("skipNodeOperations");
    }
}

/// Which result gives devices to an administrator.
pub fn of_administrator(claim: &Object) -> Option<usize> {
    let results = list(field(claim, &["status", "allocation", "devices", "results"]));
    results.iter().position(|it| it["adminAccess"] == true)
}

// Devices as upstream's messages call them: `DRIVER/POOL/DEVICE`, and the share of it where it is shared.
struct Devices(BTreeSet<String>);

impl Devices {
    fn allocated(status: &Value) -> Self {
        Self(list(&status["allocation"]["devices"]["results"]).iter().map(identity).collect())
    }
}

fn identity(device: &Value) -> String {
    let of = |name: &str| text(&device[name]);
    let mut identity = format!("{}/{}/{}", of("driver"), of("pool"), of("device"));
    if set(&device["shareID"]) {
        identity.push('/');
        identity.push_str(of("shareID"));
    }
    identity
}

fn device(device: &Place<'_>, allocated: &Devices, errors: &mut Errors) {
    const MOST_CONDITIONS: usize = 8;
    const LONGEST_DATA: usize = 10 * 1024;
    let path = device.path();
    errors.extend(csi_driver(device.text("driver"), &path.child("driver")));
    errors.extend(pool_name(device.text("pool"), &path.child("pool")));
    let name = device.text("device");
    errors.extend(invalid(&path.child("device"), name, format::dns1123_label(name)));
    let identity = identity(device.value());
    if !allocated.0.contains(&identity) {
        let of = |name: &str| Value::from(device.text(name)).to_string();
        let share = device.get("shareID").map_or_else(|| "\"\"".to_owned(), Value::to_string);
        let shown = format!(
            "{{\"Driver\":{},\"Pool\":{},\"Device\":{},\"ShareID\":{share}}}",
            of("driver"),
            of("pool"),
            of("device")
        );
        let error = FieldError::invalid(&path, identity, "must be an allocated device in the claim");
        errors.push(error.showing(shown));
    }
    let all = device.list("conditions").len();
    if all > MOST_CONDITIONS {
        errors.push(FieldError::too_many(&path.child("conditions"), all, MOST_CONDITIONS));
    }
    if let Some(list) = device.field("conditions") {
        conditions(&list, errors);
    }
    if let Some(data) = device.get("data") {
        errors.extend(raw(data, &path.child("data"), false, LONGEST_DATA));
    }
    let Some(network) = device.field("networkData") else { return };
    const MOST_ADDRESSES: usize = 16;
    if network.list("ips").len() <= MOST_ADDRESSES {
        for (index, address) in network.texts("ips").enumerate() {
            let path = network.path_of("ips").index(index);
            errors.extend(invalid(&path, address, format::interface_address(address)));
        }
    }
}

fn result(allocation: &Value, path: &FieldPath, names: &Names) -> Errors {
    const MOST: usize = 32;
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    let mut errors = Errors::new();
    let results = list(&devices["results"]);
    for (index, it) in results.iter().enumerate().filter(|_| results.len() <= MOST) {
        let path = at.child("results").index(index);
        errors.extend(names.refuse(text(&it["request"]), &path.child("request")));
        let name = text(&it["device"]);
        errors.extend(invalid(&path.child("device"), name, format::dns1123_label(name)));
        errors.extend(binding(it, &path));
        errors.extend(tolerations(&it["tolerations"], &path.child("tolerations")));
    }
    let config = list(&devices["config"]);
    for (index, it) in config.iter().enumerate().filter(|_| config.len() <= 2 * MOST) {
        let path = at.child("config").index(index);
        errors.extend(names.refuse_all(&it["requests"], &path.child("requests")));
        errors.extend(configuration(it, &path, false));
    }
    let selector = &allocation["nodeSelector"];
    if set(selector) {
        let path = path.child("nodeSelector");
        rules::check(node_selectors::SELECTOR, &Place::at(path.as_str(), selector, None), &mut errors);
    }
    errors
}
