//! What a metric of a horizontal pod autoscaler must be.

use coracle_api::{FieldError, format};

use crate::resources::{
    core::quantities,
    rules::{self, Check, Errors, Place, Rule},
    tree::text,
};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
// The sources in upstream's order, with the type that each belongs to.
static SOURCES: &[(&str, &str, &[Check])] = &[
    ("object", "Object", OBJECT),
    ("external", "External", EXTERNAL),
    ("pods", "Pods", PODS),
    ("resource", "Resource", RESOURCE),
    ("containerResource", "ContainerResource", CONTAINER_RESOURCE),
];

/// The rules of one metric.
pub fn metric(metric: &Place<'_>, errors: &mut Errors) {
    let (kind, path) = (metric.text("type"), metric.path_of("type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&path, "must specify a metric source type"));
    }
    let known = TYPES.contains(&kind);
    if !known {
        errors.push(FieldError::not_supported(&path, kind, TYPES));
    }
    let present: Vec<&(&str, &str, &[Check])> =
        SOURCES.iter().filter(|(name, ..)| metric.has(name)).collect();
    if let Some((name, _, checks)) = present.first()
        && let Some(source) = metric.field(name)
    {
        rules::check(checks, &source, errors);
    }
    let expected = SOURCES.iter().find(|(_, it, _)| *it == kind).map(|(name, ..)| *name);
    match expected {
        Some(name) if !metric.has(name) => {
            let detail = "must populate information for the given metric source";
            errors.push(FieldError::required(&metric.path_of(name), detail));
        }
        Some(_) => {}
        None => errors.push(FieldError::not_supported(&path, kind, TYPES)),
    }
    if present.len() != 1 {
        for (name, ..) in present.into_iter().filter(|(name, ..)| Some(*name) != expected) {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&metric.path_of(name), detail));
        }
    }
}

static OBJECT: &[Check] = &[
    Check::Within("describedObject", REFERENCE),
    Check::With(name),
    Check::With(target),
    Check::With(|it, errors| {
        either(it, ["value", "averageValue"], "must set either a target value or averageValue", errors)
    }),
];

static EXTERNAL: &[Check] = &[
    Check::With(name),
    Check::With(target),
    Check::With(|it, errors| {
        let detail = "must set either a target value for metric or a per-pod target";
        either(it, ["value", "averageValue"], detail, errors);
        let detail = "may not set both a target value for metric and a per-pod target";
        not_both(it, ["value", "averageValue"], "value", detail, errors);
    }),
];

static PODS: &[Check] = &[
    Check::With(name),
    Check::With(target),
    Check::With(|it, errors| {
        either(it, ["averageValue", "averageValue"], "must specify a positive target averageValue", errors);
    }),
];

static RESOURCE: &[Check] = &[
    Check::Field("name", &[Rule::Required("must specify a resource name")]),
    Check::With(target),
    Check::With(share_or_value),
];

static CONTAINER_RESOURCE: &[Check] = &[
    Check::Field("name", &[Rule::Required("must specify a resource name")]),
    Check::With(|it, errors| {
        if !it.text("name").is_empty() {
            errors.extend(quantities::container_name(it.text("name"), &it.path_of("name")));
        }
    }),
    Check::Field(
        "container",
        &[Rule::Required("must specify a container"), Rule::Format(format::dns1123_label)],
    ),
    Check::With(target),
    Check::With(share_or_value),
];

/// The rules of a reference to an object, but for its version.
pub static REFERENCE: &[Check] = &[
    Check::Field("kind", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
];

fn share_or_value(source: &Place<'_>, errors: &mut Errors) {
    let names = ["averageUtilization", "averageValue"];
    let path = source.path_of("target").child("averageUtilization");
    if !names.iter().any(|name| has(source, name)) {
        errors
            .push(FieldError::required(&path, "must set either a target raw value or a target utilization"));
    }
    let detail = "may not set both a target raw value and a target utilization";
    not_both(source, names, "averageValue", detail, errors);
}

fn has(source: &Place<'_>, name: &str) -> bool {
    source.get("target").is_some_and(|target| !target[name].is_null())
}

fn either(source: &Place<'_>, names: [&str; 2], detail: &str, errors: &mut Errors) {
    if !names.iter().any(|name| has(source, name)) {
        errors.push(FieldError::required(&source.path_of("target").child("averageValue"), detail));
    }
}

fn not_both(source: &Place<'_>, names: [&str; 2], shown: &str, detail: &str, errors: &mut Errors) {
    if names.iter().all(|name| has(source, name)) {
        errors.push(FieldError::forbidden(&source.path_of("target").child(shown), detail));
    }
}

fn name(source: &Place<'_>, errors: &mut Errors) {
    let path = source.path_of("metric").child("name");
    match source.get("metric").map_or("", |metric| text(&metric["name"])) {
        "" => errors.push(FieldError::required(&path, "must specify a metric name")),
        name => {
            let faults = format::path_segment_name(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        }
    }
}

fn target(source: &Place<'_>, errors: &mut Errors) {
    let Some(target) = source.field("target") else { return };
    let (kind, path) = (target.text("type"), target.path_of("type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&path, "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        errors.push(FieldError::invalid(&path, kind, "must be either Utilization, Value, or AverageValue"));
    }
    for name in ["value", "averageValue"] {
        let amount = target.text(name);
        if target.has(name) && quantities::parse(amount).is_none_or(|it| it.sign() < 1) {
            errors.push(FieldError::invalid(&target.path_of(name), amount, "must be positive"));
        }
    }
    if let Some(share) = target.number("averageUtilization").filter(|share| *share < 1) {
        errors.push(FieldError::invalid(
            &target.path_of("averageUtilization"),
            share,
            "must be greater than 0",
        ));
    }
}
