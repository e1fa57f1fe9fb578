//! Device taint rules.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show, since},
    tree::{field, map_mut, section, set, text, time},
};

/// The behaviour of device taint rules.
pub struct DeviceTaintRules;

impl Strategy for DeviceTaintRules {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        let taint = map_mut(new.section_mut("spec"), "taint");
        if write.part == Part::Whole && !taint.get("timeAdded").is_some_and(set) {
            // An update that leaves the time out means the same taint.
            let before = old.map(|old| field(old, &["spec", "taint", "timeAdded"])).filter(|it| set(it));
            taint.insert("timeAdded".to_owned(), before.cloned().unwrap_or_else(|| time(write.now)));
        }
        crate::resources::prepare(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
        if write.part == Part::Status {
            return Vec::new();
        }
        let (taint, path) = (&section(new, "spec")["taint"], FieldPath::new("spec").child("taint"));
        let (key, effect) = (text(&taint["key"]), text(&taint["effect"]));
        let faults = format::qualified_name(key).into_iter();
        let mut errors: Vec<FieldError> =
            faults.map(|fault| FieldError::invalid(&path.child("key"), key, fault)).collect();
        if let Some(value) = taint["value"].as_str().filter(|value| !value.is_empty()) {
            let faults = format::label_value(value).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&path.child("value"), value, fault)));
        }
        if effect.is_empty() {
            errors.push(FieldError::required(&path.child("effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(&path.child("effect"), effect, EFFECTS));
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
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
