//! Device taint rules.

use coracle_api::{FieldError, FieldPath, Object, format};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    parts::{invalid, pool_name, taint},
    types,
};
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show, since},
    conditions::conditions,
    core::volume_sources::csi_driver,
    declared, keep_metadata,
    rules::Place,
    tree::{field, map_mut, section, set, text, time},
};

/// The behaviour of device taint rules.
pub struct DeviceTaintRules;

impl Strategy for DeviceTaintRules {
    fn default_at(&self, object: &mut Object, now: Timestamp) {
        let taint = map_mut(object.section_mut("spec"), "taint");
        taint.entry("timeAdded").or_insert_with(|| time(now));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        if let (Part::Whole, Some(old)) = (write.part, old) {
            let of = |it: &Object, name: &str| field(it, &["spec", "taint", name]).clone();
            // The time is that of the effect.
            if of(new, "effect") != of(old, "effect") && of(new, "timeAdded") == of(old, "timeAdded") {
                map_mut(new.section_mut("spec"), "taint").insert("timeAdded".to_owned(), time(write.now));
            }
        }
        crate::resources::prepare(write, new, old);
        keep_metadata(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        const MOST_CONDITIONS: usize = 8;
        let mut errors = Vec::new();
        let place = Place::object(new, None);
        if write.part == Part::Status {
            let status = place.field("status");
            let list = status.as_ref().and_then(|status| status.field("conditions"));
            if let Some(list) = list {
                conditions(&list, &mut errors);
                let count = list.value().as_array().map_or(0, Vec::len);
                if count > MOST_CONDITIONS {
                    errors.push(FieldError::too_many(&list.path(), count, MOST_CONDITIONS));
                }
            }
        } else {
            let path = FieldPath::new("spec");
            errors.extend(selector(&section(new, "spec")["deviceSelector"], &path.child("deviceSelector")));
            errors.extend(taint(&section(new, "spec")["taint"], &path.child("taint")));
        }
        declared::check(types::TAINT_RULE, &Place::object(new, old), &mut errors);
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

fn selector(selector: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let of = |name: &str| set(&selector[name]).then(|| (text(&selector[name]), path.child(name)));
    if let Some((name, path)) = of("driver") {
        errors.extend(csi_driver(name, &path));
    }
    if let Some((name, path)) = of("pool") {
        errors.extend(pool_name(name, &path));
    }
    if let Some((name, path)) = of("device") {
        errors.extend(invalid(&path, name, format::dns1123_label(name)));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Key",
        "string",
        "The taint key to be applied to a device. Must be a label name.",
        |it, _| show(it, &["spec", "taint", "key"]),
    ),
    Column::new(
        "Value",
        "string",
        "The taint value corresponding to the taint key. Must be a label value.",
        |it, _| show(it, &["spec", "taint", "value"]),
    ),
    Column::new(
        "Effect",
        "string",
        "The effect of the taint on claims that do not tolerate the taint and through such claims on the pods using them.\n\nValid effects are None, NoSchedule and NoExecute. PreferNoSchedule as used for nodes is not valid here. More effects may get added in the future. Consumers must treat unknown effects like None.",
        |it, _| show(it, &["spec", "taint", "effect"]),
    ),
    Column::new(
        "TimeAdded",
        "string",
        "TimeAdded represents the time at which the taint was added or (only in a DeviceTaintRule) the effect was modified. Added automatically during create or update if not set.\n\nIn addition, in a DeviceTaintRule a value provided during an update gets replaced with the current time if the provided value is the same as the old one and the new effect is different. Changing the key and/or value while keeping the effect unchanged is possible and does not update the time stamp because the eviction which uses it is either already started (NoExecute) or not started yet (NoEffect, NoSchedule).",
        |it, now| match field(it, &["spec", "taint", "timeAdded"]) {
            Value::Null => "".into(),
            _ => since(it, &["spec", "taint", "timeAdded"], now),
        },
    ),
    AGE,
];
