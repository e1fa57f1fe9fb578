//! What the kinds that make pods from a template share.

use coracle_api::{FieldError, LabelSelector, Object, format};
use serde_json::{Map, Value};

use super::{
    Column, Part, Write,
    core::pods::{defaults, disabled, internal::Internal, template, warnings},
    label_selectors::{SELECTOR, shown},
    restore,
    rules::{Check, Errors, IMMUTABLE, NOT_NEGATIVE, Place, check},
    tree,
};

/// Where most of them keep their template.
pub const TEMPLATE: &[&str] = &["spec", "template"];

/// A value at a path of an object, to change it.
pub fn at_mut<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(object.0.get_mut(*first)?, |value, field| value.get_mut(*field))
}

/// The defaults of the template at a path.
pub fn default_template(object: &mut Object, path: &[&str]) {
    defaults::template(at_mut(object, path));
}

/// Gives a field its default where it is unset.
pub fn unset(fields: &mut Map<String, Value>, field: &str, default: impl Into<Value>) {
    if fields.get(field).is_none_or(Value::is_null) {
        fields.insert(field.to_owned(), default.into());
    }
}

/// `Strategy::prepare` of these kinds: the status is kept out of writes to the
/// whole, the spec out of writes to the status, disabled fields of the template
/// go, and a change of the spec counts a generation.
pub fn prepare(write: &Write<'_>, new: &mut Object, old: Option<&Object>, path: &[&str]) {
    match (write.part, old) {
        (Part::Status, Some(old)) => {
            restore(new, old, "spec");
            new.set_meta("generation", old.meta("generation").cloned());
        }
        (_, Some(old)) => {
            restore(new, old, "status");
            disabled::drop_template(at_mut(new, path), old.get(path));
            let more = i64::from(new.0.get("spec") != old.0.get("spec"));
            generation(new, old.generation() + more);
        }
        (_, None) => {
            new.0.remove("status");
            new.set_meta("generation", Some(1.into()));
            disabled::drop_template(at_mut(new, path), None);
        }
    }
}

/// Sets the generation; 0 is unset.
pub fn generation(object: &mut Object, generation: i64) {
    object.set_meta("generation", (generation != 0).then(|| generation.into()));
}

/// `Strategy::warnings` of these kinds: about the template, where it is new or
/// the generation counts. `named` warns of names that make bad names of pods.
pub fn warn(
    write: &Write<'_>,
    new: &Object,
    old: Option<&Object>,
    path: &[&str],
    named: bool,
) -> Vec<String> {
    let mut out = Vec::new();
    if write.part != Part::Whole || old.is_some_and(|old| old.generation() == new.generation()) {
        return out;
    }
    if old.is_none() && named {
        out.extend(warnings::of_name(new.name(), "this is used in Pod names and hostnames"));
    }
    if let Some(template) = new.get(path) {
        out.extend(warnings::of_template(&path.join("."), template));
    }
    out
}

/// The selector of a kind that must have one. `None` where it is none: then the
/// template is not compared with it.
pub fn selector(spec: &Place<'_>, kind: &str, errors: &mut Errors) -> Option<LabelSelector> {
    match spec.field("selector") {
        None => errors.push(FieldError::required(&spec.path_of("selector"), "")),
        Some(selector) => {
            check(SELECTOR, &selector, errors);
            empty_selector(spec, kind, errors);
        }
    }
    let parsed = parsed(spec);
    if parsed.is_none() {
        errors.push(selector_error(spec, "invalid label selector"));
    }
    parsed
}

/// The selector, if it can be one; an unset one matches nothing.
pub fn parsed(spec: &Place<'_>) -> Option<LabelSelector> {
    LabelSelector::from_value(spec.get("selector").unwrap_or(&Value::Null)).ok()
}

/// What is wrong with a selector that selects everything.
pub fn empty_selector(spec: &Place<'_>, kind: &str, errors: &mut Errors) {
    let Some(selector) = spec.get("selector") else { return };
    if tree::count(&selector["matchLabels"]) + tree::count(&selector["matchExpressions"]) == 0 {
        errors.push(selector_error(spec, &format!("empty selector is invalid for {kind}")));
    }
}

/// What is wrong with the selector as a whole.
pub fn selector_error(spec: &Place<'_>, detail: &str) -> FieldError {
    let selector = spec.get("selector");
    let value = selector.cloned().unwrap_or_default();
    FieldError::invalid(&spec.path_of("selector"), value, detail).showing(shown(selector))
}

/// An object's selector does not change.
pub fn same_selector(spec: &Place<'_>, errors: &mut Errors) {
    if spec.old().is_some() && spec.get("selector") != spec.old_of("selector") {
        errors.push(selector_error(spec, IMMUTABLE));
    }
}

/// The template's labels are those that the selector looks for.
pub fn selects(spec: &Place<'_>, selector: &LabelSelector, errors: &mut Errors) {
    let labels = spec.get("template").and_then(|it| it.get("metadata")?.get("labels"));
    let value = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
    if !selector.matches(value) {
        let path = spec.path_of("template").child("metadata").child("labels");
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&path, labels.cloned().unwrap_or_default(), detail));
    }
}

/// The template of a kind whose pods are always restarted.
pub fn lasting_template(spec: &Place<'_>, kind: &str, errors: &mut Errors) {
    if let Some(template) = spec.field("template") {
        template::validate(&template, errors);
    }
    lasting(spec, kind, errors);
}

/// Pods of that kind are always restarted, and never end by a deadline.
pub fn lasting(spec: &Place<'_>, kind: &str, errors: &mut Errors) {
    let Some(template) = spec.field("template") else { return };
    let Some(pod) = template.field("spec") else { return };
    let policy = pod.text("restartPolicy");
    if policy != "Always" {
        errors.push(FieldError::not_supported(&pod.path_of("restartPolicy"), policy, &["Always"]));
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&pod.path_of("activeDeadlineSeconds"), detail));
    }
}

/// Counts of a status that are not more than others, `(field, most)`.
pub fn at_most(status: &Place<'_>, pairs: &[(&str, &str)], detail: fn(&str) -> String, errors: &mut Errors) {
    let count = |field: &str| status.number(field).unwrap_or(0);
    for (field, most) in pairs.iter().filter(|(field, most)| count(field) > count(most)) {
        errors.push(FieldError::invalid(&status.path_of(field), count(field), detail(most)));
    }
}

/// `status.collisionCount` only ever grows.
pub fn collisions(status: &Place<'_>, errors: &mut Errors) {
    let old = status.old_of("collisionCount").and_then(Value::as_i64);
    let new = status.number("collisionCount");
    if old.is_some_and(|old| new.is_none_or(|new| new < old)) {
        let path = status.path_of("collisionCount");
        errors.push(FieldError::invalid(&path, new.unwrap_or(0), "cannot be decremented"));
    }
}

/// A field that is a number or a percentage, and what it counts as.
pub fn int_or_percent(place: &Place<'_>, field: &str, errors: &mut Errors) -> i64 {
    let path = place.path_of(field);
    match place.get(field) {
        Some(Value::String(text)) => {
            errors.extend(
                format::percent(text)
                    .into_iter()
                    .map(|it| FieldError::invalid(&path, text.as_str(), it).showing(quoted(text))),
            );
            percent(text).unwrap_or(0)
        }
        value => {
            let number = value.and_then(Value::as_i64).unwrap_or(0);
            if number < 0 {
                errors.push(FieldError::invalid(&path, number, NOT_NEGATIVE));
            }
            number
        }
    }
}

fn quoted(text: &str) -> String {
    super::core::pods::internal::escaped(&Value::String(text.to_owned()))
}

// As upstream does, what is no percentage is read as a number.
fn percent(text: &str) -> Option<i64> {
    text.strip_suffix('%').filter(|_| format::percent(text).is_empty()).unwrap_or(text).parse().ok()
}

/// A percentage of the whole is at most the whole.
pub fn at_most_all(place: &Place<'_>, field: &str, errors: &mut Errors) {
    let Some(Value::String(text)) = place.get(field) else { return };
    let whole = format::percent(text).is_empty();
    if whole && percent(text).is_none_or(|percent| percent > 100) {
        let path = place.path_of(field);
        errors.push(
            FieldError::invalid(&path, text.as_str(), "must not be greater than 100%").showing(quoted(text)),
        );
    }
}

/// A value of the internal version's struct, shown so.
pub fn showing(error: FieldError, of: &str, value: &Value) -> FieldError {
    error.showing(Internal::read().compact(of, value))
}

/// The same for a list of structs.
pub fn showing_list(error: FieldError, of: &str, list: &[Value]) -> FieldError {
    error.showing(Internal::read().compact_list(of, list))
}

/// Validates a section of an object, if it has it.
pub fn section(new: &Object, old: Option<&Object>, name: &str, checks: &[Check]) -> Errors {
    let mut errors = Errors::new();
    if let Some(place) = Place::object(new, old).field(name) {
        check(checks, &place, &mut errors);
    }
    errors
}

// Columns.

fn of_containers(object: &Object, path: &[&str], field: &str) -> Value {
    let containers = object.get(path).map(|template| tree::list(&template["spec"]["containers"]));
    let texts: Vec<&str> = containers.unwrap_or_default().iter().map(|it| tree::text(&it[field])).collect();
    texts.join(",").into()
}

/// The names of a template's containers.
pub fn names(object: &Object, path: &[&str]) -> Value {
    of_containers(object, path, "name")
}

/// The images of a template's containers.
pub fn images(object: &Object, path: &[&str]) -> Value {
    of_containers(object, path, "image")
}

/// The names of containers in [`TEMPLATE`].
pub const CONTAINERS: Column =
    Column::new("Containers", "string", "Names of each container in the template.", |it, _| {
        names(it, TEMPLATE)
    });

/// The images of containers in [`TEMPLATE`].
pub const IMAGES: Column =
    Column::new("Images", "string", "Images referenced by each container in the template.", |it, _| {
        images(it, TEMPLATE)
    });
