//! Events, in the core group and in `events.k8s.io`: one kind in the store,
//! two forms on the wire.

use std::time::Duration;

use coracle_api::{FieldError, FieldPath, Object, format};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::resources::{
    Column, Strategy, Write, age,
    columns::{named, show, since, wide},
    core::pods::internal::Internal,
    meta,
    rules::IMMUTABLE,
    tree::{field, number, section, set, text},
};

/// How long an event is kept.
pub const TTL: Duration = Duration::from_secs(60 * 60);

const NEW: &str = "events.k8s.io/v1";
const OLD: &str = "v1";

/// The behaviour of events.
pub struct Events;

impl Strategy for Events {
    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    // What the older form must be as an object is looked at only when the rest of it is right.
    fn check(
        &self,
        write: &Write<'_>,
        namespaced: bool,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<FieldError> {
        let strict = write.api_version == NEW;
        let lenient = lenient(new, if strict { "reportingController" } else { "reportingComponent" });
        let mut errors = old.map(|old| meta::validate_update(new, old)).unwrap_or_default();
        errors.extend(lenient);
        match old {
            None if !strict && errors.is_empty() => {
                errors = meta::validate(new, namespaced, format::name_is_path_segment);
            }
            _ if !strict => {}
            None => {
                errors.extend(meta::validate(new, namespaced, format::name_is_subdomain));
                errors.extend(meta::finalizer_names(new));
                errors.extend(strictly_created(new));
            }
            Some(old) => {
                errors.extend(meta::finalizer_names(new));
                errors.extend(strictly_updated(new, old));
            }
        }
        errors
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn ttl(&self, _object: &Object) -> Option<Duration> {
        Some(TTL)
    }

    fn is_collected(&self) -> bool {
        false
    }

    fn selectors(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        let involved = |name: &'static str| text(field(object, &["involvedObject", name])).to_owned();
        let reporter = object.get_str(&["reportingComponent"]).to_owned();
        let source = match object.get_str(&["source", "component"]) {
            "" => reporter.clone(),
            component => component.to_owned(),
        };
        vec![
            ("involvedObject.kind", involved("kind")),
            ("involvedObject.namespace", involved("namespace")),
            ("involvedObject.name", involved("name")),
            ("involvedObject.uid", involved("uid")),
            ("involvedObject.apiVersion", involved("apiVersion")),
            ("involvedObject.resourceVersion", involved("resourceVersion")),
            ("involvedObject.fieldPath", involved("fieldPath")),
            ("reason", object.get_str(&["reason"]).to_owned()),
            ("reportingComponent", reporter),
            ("source", source),
            ("type", object.get_str(&["type"]).to_owned()),
        ]
    }

    fn selector<'a>(&self, name: &'a str, api_version: &str) -> Option<&'a str> {
        if api_version != NEW {
            return self.selects(name).then_some(name);
        }
        match name {
            "reason" | "type" => Some(name),
            "reportingController" => Some("reportingComponent"),
            _ => {
                let regarding = name.strip_prefix("regarding.")?;
                let involved = self
                    .selectors()
                    .iter()
                    .filter(|it| it.strip_prefix("involvedObject.") == Some(regarding));
                involved.copied().next()
            }
        }
    }

    fn to_storage(&self, object: &mut Object) {
        if object.api_version() == NEW {
            rename(&mut object.0, NAMES, OLD);
        }
    }

    fn from_storage(&self, object: &mut Object, api_version: &str) {
        if api_version == NEW && object.api_version() != NEW {
            let back: Vec<(&str, &str)> = NAMES.iter().map(|(new, old)| (*old, *new)).collect();
            rename(&mut object.0, &back, NEW);
        }
    }
}

// The fields that the two forms name differently: in `events.k8s.io`, in core.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(object: &mut Map<String, Value>, names: &[(&str, &str)], api_version: &str) {
    for (from, to) in names {
        if let Some(value) = object.remove(*from) {
            object.insert((*to).to_owned(), value);
        }
    }
    object.insert("apiVersion".to_owned(), api_version.into());
}

// What every event must be, of either form.
fn lenient(event: &Object, reporter_field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = event.namespace();
    let involved = event.get_str(&["involvedObject", "namespace"]);
    let timed = set(section(event, "eventTime"));
    let agrees = match (timed, involved) {
        (false, "") => ["", "default"].contains(&namespace),
        (false, involved) => namespace == involved,
        (true, "") => ["default", "kube-system"].contains(&namespace),
        (true, _) => true,
    };
    if !agrees {
        let path = FieldPath::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid(&path, involved, "does not match event.namespace"));
    }
    if !timed {
        return errors;
    }
    let reporter = event.get_str(&["reportingComponent"]);
    let path = FieldPath::new(reporter_field);
    if reporter.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for fault in format::qualified_name(reporter) {
        errors.push(FieldError::invalid(&path, reporter, fault));
    }
    let mut short = |name: &str, limit: usize, required: bool| {
        let value = event.get_str(&[name]);
        let path = FieldPath::new(name);
        if required && value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if value.len() > limit {
            errors.push(FieldError::invalid(&path, "", format!("can have at most {limit} characters")));
        }
    };
    short("reportingInstance", 128, true);
    short("action", 128, true);
    short("reason", 128, true);
    short("message", 1024, false);
    errors
}

fn strictly_created(event: &Object) -> Vec<FieldError> {
    let mut errors = series(event);
    if section(event, "eventTime").is_null() {
        errors.push(FieldError::required(&FieldPath::new("eventTime"), ""));
    }
    let kind = event.get_str(&["type"]);
    if !["Normal", "Warning"].contains(&kind) {
        let detail = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid(&FieldPath::new("type"), "", detail));
    }
    let source = section(event, "source");
    let unset = [
        ("firstTimestamp", section(event, "firstTimestamp").is_null()),
        ("lastTimestamp", section(event, "lastTimestamp").is_null()),
        ("count", number(section(event, "count")) == 0),
        ("source", text(&source["component"]).is_empty() && text(&source["host"]).is_empty()),
    ];
    for (name, fits) in unset {
        if !fits {
            errors.push(FieldError::invalid(&FieldPath::new(name), "", "needs to be unset"));
        }
    }
    errors
}

fn strictly_updated(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = if section(new, "series") == section(old, "series") { Vec::new() } else { series(new) };
    // As upstream names them; the stored form calls the controller a component.
    const FIXED: &[(&str, &str)] = &[
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingComponent"),
        ("reportingInstance", "reportingInstance"),
    ];
    for (name, stored) in FIXED {
        let value = section(new, stored);
        if value != section(old, stored) {
            let error = FieldError::invalid(&FieldPath::new(name), value.clone(), IMMUTABLE);
            errors.push(match shown(stored, value) {
                Some(shown) => error.showing(shown),
                None => error,
            });
        }
    }
    errors
}

// A value as upstream's internal version has it, where that is not what the wire has.
fn shown(name: &str, value: &Value) -> Option<String> {
    let of = |of: &str| Some(Internal::read().compact(of, value));
    match name {
        "involvedObject" => of("ObjectReference"),
        "related" if set(value) => of("ObjectReference"),
        "source" => of("EventSource"),
        "count" => Some(number(value).to_string()),
        "firstTimestamp" | "lastTimestamp" | "eventTime" | "related" => None,
        _ if value.is_null() => Some("\"\"".to_owned()),
        _ => None,
    }
}

fn series(event: &Object) -> Vec<FieldError> {
    let series = section(event, "series");
    let mut errors = Vec::new();
    if series.is_null() {
        return errors;
    }
    if number(&series["count"]) < 2 {
        errors.push(FieldError::invalid(&FieldPath::new("series.count"), "", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        errors.push(FieldError::required(&FieldPath::new("series.lastObservedTime"), ""));
    }
    errors
}

// Tables are made of either form: a field by its stored name.
fn stored<'a>(event: &'a Object, name: &str) -> &'a Value {
    let value = section(event, name);
    let newer = NAMES.iter().find(|(_, old)| *old == name).map(|(new, _)| *new);
    newer.filter(|_| value.is_null()).map_or(value, |newer| section(event, newer))
}

fn first_seen(event: &Object, now: Timestamp) -> Value {
    let first = stored(event, "firstTimestamp");
    age::since(Some(if set(first) { first } else { section(event, "eventTime") }), now).into()
}

fn last_seen(event: &Object, now: Timestamp) -> Value {
    if set(section(event, "series")) {
        since(event, &["series", "lastObservedTime"], now)
    } else if set(stored(event, "lastTimestamp")) {
        age::since(Some(stored(event, "lastTimestamp")), now).into()
    } else {
        first_seen(event, now)
    }
}

fn times(event: &Object) -> Value {
    let series = section(event, "series");
    if set(series) {
        return number(&series["count"]).into();
    }
    // A single event of the newer form has no count.
    match number(stored(event, "count")) {
        0 => 1.into(),
        count => count.into(),
    }
}

fn involved(event: &Object) -> Value {
    let involved = stored(event, "involvedObject");
    let kind = text(&involved["kind"]).to_lowercase();
    match text(&involved["name"]) {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

fn reporter(event: &Object) -> Value {
    let source = stored(event, "source");
    let first = |old: &str, new: &str| match text(&source[old]) {
        "" => text(stored(event, new)).to_owned(),
        text => text.to_owned(),
    };
    let component = first("component", "reportingComponent");
    match first("host", "reportingInstance").as_str() {
        "" => component.into(),
        instance => format!("{component}, {instance}").into(),
    }
}

/// The columns, of either form.
pub static COLUMNS: &[Column] = &[
    Column::new(
        "Last Seen",
        "string",
        "The time at which the most recent occurrence of this event was recorded.",
        last_seen,
    ),
    Column::new(
        "Type",
        "string",
        "Type of this event (Normal, Warning), new types could be added in the future",
        |it, _| show(it, &["type"]),
    ),
    Column::new(
        "Reason",
        "string",
        "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
        |it, _| show(it, &["reason"]),
    ),
    Column::new("Object", "string", "The object that this event is about.", |it, _| involved(it)),
    wide(Column::new(
        "Subobject",
        "string",
        "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.",
        |it, _| text(&stored(it, "involvedObject")["fieldPath"]).into(),
    )),
    wide(Column::new(
        "Source",
        "string",
        "The component reporting this event. Should be a short machine understandable string.",
        |it, _| reporter(it),
    )),
    Column::new(
        "Message",
        "string",
        "A human-readable description of the status of this operation.",
        |it, _| text(stored(it, "message")).trim().into(),
    ),
    wide(Column::new(
        "First Seen",
        "string",
        "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        first_seen,
    )),
    wide(Column::new("Count", "string", "The number of times this event has occurred.", |it, _| times(it))),
    wide(named(|it, _| it.name().into())),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_field_selectors() {
        for (name, old, new) in [
            ("reason", Some("reason"), Some("reason")),
            ("source", Some("source"), None),
            ("reportingComponent", Some("reportingComponent"), None),
            ("reportingController", None, Some("reportingComponent")),
            ("involvedObject.name", Some("involvedObject.name"), None),
            ("regarding.name", None, Some("involvedObject.name")),
            ("regarding.nothing", None, None),
        ] {
            assert_eq!(Events.selector(name, OLD), old, "{name} in {OLD}");
            assert_eq!(Events.selector(name, NEW), new, "{name} in {NEW}");
        }
    }
}
