//! The behaviour of a custom resource in one of its versions.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use coracle_api::{FieldError, Object, field::FieldPath, format};
use coracle_store::Revision;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    cel::Rules,
    default,
    definition::{Definition, Form},
    json_path::JsonPath,
    prune::prune,
    validate,
};
use crate::{
    error::{ApiError, Subject},
    registry::{Registry, scale},
    resources::{Claim, Part, ScalePaths, Strategy, Write},
    schema::canonical::canonicalize,
};

/// A field that selectors may name.
pub struct Selectable {
    /// The name in selectors.
    pub name: String,
    /// Where it is.
    pub path: JsonPath,
}

/// A version of a custom resource.
pub struct Custom {
    /// What it is a version of.
    pub definition: Arc<Definition>,
    /// Which one.
    pub form: usize,
    /// Whether the status is a part of its own.
    pub status: bool,
    /// Where the replicas are, for a kind that scales.
    pub scale: Option<ScalePaths>,
    /// What selectors may name.
    pub selectable: Vec<Selectable>,
    /// What clients of a deprecated version are told.
    pub warning: Option<String>,
}

static NO_SCALE: ScalePaths =
    ScalePaths { replicas: Cow::Borrowed(&[]), current: Cow::Borrowed(&[]), selector: None, custom: true };

impl Custom {
    fn form(&self) -> &Form {
        &self.definition.forms[self.form]
    }

    fn is_stored(&self) -> bool {
        self.form == self.definition.storage
    }

    // Brings an object into a version: its fields, its defaults.
    fn bring(object: &mut Object, form: &Form) {
        object.0.insert("apiVersion".to_owned(), form.api_version.as_str().into());
        // What is stored may have been so before it had to keep to a schema.
        let _ = prune(&mut object.0, &form.shape, true);
        default::complete(&mut object.0, &form.schema);
    }

    // Everything that is wrong beyond the metadata.
    fn faults(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let form = self.form();
        let root = FieldPath::default();
        let spoken = |object: &Object| {
            let mut object = object.clone();
            object.0.insert("apiVersion".to_owned(), form.api_version.as_str().into());
            object.into_value()
        };
        let (value, before) = (spoken(new), old.map(spoken));
        let mut errors = Vec::new();
        if write.part == Part::Status {
            let status = form.schema.property("status");
            if let (Some(status), Some(value)) = (status, value.get("status")) {
                let before = before.as_ref().map(|it| it.get("status").unwrap_or(&Value::Null));
                errors.extend(validate::object(status, value, before, &root.child("status")));
            }
        } else {
            errors.extend(validate::object(&form.schema, &value, before.as_ref(), &root));
            errors.extend(self.scale.as_ref().and_then(|paths| whole(new, &paths.replicas)));
        }
        if let Some(paths) = &self.scale {
            errors.extend(whole(new, &paths.current));
            errors.extend(paths.selector.as_ref().and_then(|path| selector(new, path)));
        }
        if write.part != Part::Status {
            errors.extend(validate::embedded(&form.schema, &value, &root));
        }
        let twice = |object: &Object| validate::lists(&form.schema, &object.0, &root);
        if old.is_none_or(|old| twice(old).is_empty()) {
            errors.extend(twice(new));
        }
        let rules = form.rules.get_or_init(|| Rules::of(&self.said()?["schema"]["openAPIV3Schema"]));
        if let Some(rules) = rules {
            if errors.iter().any(blocks) {
                let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
                errors.push(FieldError::invalid(&root, Value::Null, detail));
            } else {
                errors.extend(rules.check(&form.schema, &value, before.as_ref()));
            }
        }
        errors
    }
}

impl Strategy for Custom {
    fn default(&self, object: &mut Object) {
        default::complete(&mut object.0, &self.form().schema);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        match (write.part, old) {
            (_, None) => {
                if self.status {
                    new.0.remove("status");
                }
                new.set_meta("generation", Some(1.into()));
            }
            (Part::Status, Some(old)) => {
                let (status, owners) = (new.0.remove("status"), new.meta("managedFields").cloned());
                let version = new.meta("resourceVersion").cloned();
                *new = old.clone();
                new.set_meta("managedFields", owners);
                new.set_meta("resourceVersion", version);
                new.0.remove("status");
                if let Some(status) = status {
                    new.0.insert("status".to_owned(), status);
                }
            }
            (_, Some(old)) => {
                if self.status {
                    crate::resources::restore(new, old, "status");
                }
                let rest = |object: &Object| -> Vec<(String, Value)> {
                    let fields = object.0.iter().filter(|(name, _)| *name != "metadata");
                    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
                };
                if rest(new) != rest(old) {
                    new.set_meta("generation", Some((old.generation() + 1).into()));
                }
            }
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let kind = &self.definition.kind;
        if new.kind() != kind {
            return vec![FieldError::invalid(&FieldPath::new("kind"), new.kind(), format!("must be {kind}"))];
        }
        self.faults(write, new, old)
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        if write.part == Part::Status {
            return Vec::new();
        }
        let mut added: Vec<&str> = new
            .finalizers()
            .filter(|it| old.is_none_or(|old| !old.finalizers().any(|was| was == *it)))
            .collect();
        added.sort_unstable();
        added.dedup();
        added.into_iter().flat_map(finalizer).collect()
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn fields(&self, object: &Object) -> Vec<(Cow<'static, str>, String)> {
        if self.selectable.is_empty() {
            return Vec::new();
        }
        let tree = object.clone().into_value();
        let value = |it: &Selectable| match it.path.find(&tree).unwrap_or_default().first() {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        self.selectable.iter().map(|it| (Cow::Owned(it.name.clone()), value(it))).collect()
    }

    fn selects(&self, name: &str) -> bool {
        self.selectable.iter().any(|it| it.name == name)
    }

    fn said(&self) -> Option<Value> {
        let crd = crate::codec::json::tree(&self.definition.record.bytes);
        let mut version = crd.get("spec")?.get("versions")?.get(self.form)?.clone();
        if crd["spec"]["preserveUnknownFields"] == true {
            version["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        Some(version)
    }

    fn stamp(&self) -> u64 {
        // A definition has far fewer versions.
        self.definition.stamp << 16 | self.form as u64
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn to_storage(&self, object: &mut Object) {
        if let Some(stored) = self.definition.stored() {
            object.0.insert("apiVersion".to_owned(), stored.api_version.as_str().into());
        }
    }

    fn from_storage(&self, object: &mut Object, _api_version: &str) {
        Self::bring(object, self.form());
    }

    fn shows_as_stored(&self, stored: Revision) -> bool {
        stored.0 > self.definition.since.load(Ordering::Acquire)
    }

    fn revive(&self, object: &mut Object, stored: Revision) {
        if self.shows_as_stored(stored) {
            return;
        }
        if let Some(form) = self.definition.form(object.api_version()) {
            Self::bring(object, form);
        }
        if let Some(form) = self.definition.stored() {
            Self::bring(object, form);
        }
        if object.generation() == 0 {
            object.set_meta("generation", Some(1.into()));
        }
    }

    fn seal(&self, object: &mut Object) -> bool {
        let Some(stored) = self.definition.stored() else { return false };
        if !self.is_stored() {
            let _ = prune(&mut object.0, &stored.shape, true);
            // Upstream gives these on the way back from its store.
            default::complete(&mut object.0, &stored.schema);
        }
        canonicalize(object, &stored.shape);
        object.0.values_mut().for_each(whole_numbers);
        true
    }

    fn scale(&self) -> &ScalePaths {
        self.scale.as_ref().unwrap_or(&NO_SCALE)
    }

    fn deprecated(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn going(&self) -> bool {
        self.definition.terminating
    }

    fn stored_before(&self, stored: Revision) {
        self.definition.since.fetch_max(stored.0, Ordering::AcqRel);
    }

    // Webhooks do not convert yet: what would need one is refused, and not
    // served in the wrong form.
    fn unusable(&self) -> Option<ApiError> {
        (self.definition.webhook && !self.is_stored()).then(|| self.unconverted())
    }

    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn begin<'a>(
        &'a self,
        _registry: &'a Registry,
        _write: &'a Write<'a>,
        new: &'a mut Object,
        old: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<Claim, ApiError>> {
        let refused = old.is_none() && self.definition.terminating;
        let answer = if refused { Err(self.terminating(new.name())) } else { Ok(Claim::default()) };
        Box::pin(std::future::ready(answer))
    }
}

impl Custom {
    fn terminating(&self, name: &str) -> ApiError {
        let reason = "create not allowed while custom resource definition is terminating".to_owned();
        let crd = crate::codec::json::parse_stored(&self.definition.record.bytes);
        let plural = crd.get_str(&["spec", "names", "plural"]).to_owned();
        let subject = Subject { group: self.definition.group.clone(), kind: plural, name: name.to_owned() };
        ApiError::Forbidden { subject, reason }
    }

    fn unconverted(&self) -> ApiError {
        let (kind, from, to) = (
            &self.definition.kind,
            &self.form().api_version,
            self.definition.stored().map(|it| &it.api_version),
        );
        let to = to.map_or("", String::as_str);
        let text = format!(
            "conversion webhook for {kind} in version {from:?} to {to:?} is not supported by this server yet"
        );
        ApiError::Internal(text)
    }
}

// Whether rules cannot be asked of an object that has this error.
fn blocks(error: &FieldError) -> bool {
    use coracle_api::FieldErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

// Go writes whole floats without a point, and so reads them back as integers.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 9e18);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

// What is wrong with the replicas at a path.
fn whole(object: &Object, path: &[Cow<'static, str>]) -> Option<FieldError> {
    let name = format!(".{}", path.join("."));
    let at = FieldPath::new(&name);
    let value = match nested(object, path, &name) {
        Ok(value) => value?,
        Err(detail) => return Some(FieldError::invalid(&at, 0, detail)),
    };
    let Some(number) = value.as_i64() else {
        let detail = format!(
            "{name} accessor error: {} is of the type {}, expected int64",
            plain(value),
            type_of(value)
        );
        return Some(FieldError::invalid(&at, 0, detail));
    };
    if number < 0 {
        return Some(FieldError::invalid(&at, number, "should be a non-negative integer"));
    }
    if number > i64::from(i32::MAX) {
        let detail = format!("should be less than or equal to {}", i32::MAX);
        return Some(FieldError::invalid(&at, number, detail));
    }
    None
}

fn selector(object: &Object, path: &[Cow<'static, str>]) -> Option<FieldError> {
    let name = format!(".{}", path.join("."));
    let at = FieldPath::new(&name);
    match nested(object, path, &name) {
        Err(detail) => Some(FieldError::invalid(&at, "", detail)),
        Ok(None | Some(Value::String(_))) => None,
        Ok(Some(value)) => {
            let (shown, found) = (plain(value), type_of(value));
            let detail = format!("{name} accessor error: {shown} is of the type {found}, expected string");
            Some(FieldError::invalid(&at, "", detail))
        }
    }
}

// The value at a path of which every step is to be a map.
fn nested<'a>(
    object: &'a Object,
    path: &[Cow<'static, str>],
    name: &str,
) -> Result<Option<&'a Value>, String> {
    let (_, parents) = path.split_last().unwrap_or((&Cow::Borrowed(""), &[]));
    for end in 1..=parents.len() {
        match scale::at(object, &path[..end]) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(_)) => {}
            Some(other) => {
                let (shown, found) = (plain(other), type_of(other));
                return Err(format!(
                    "{name} accessor error: {shown} is of the type {found}, expected map[string]interface{{}}"
                ));
            }
        }
    }
    Ok(scale::at(object, path))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Number(it) if it.is_f64() => coracle_api::field::go_float(it.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(it) if it.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

// What is warned of in the name of a finalizer.
fn finalizer(name: &str) -> Vec<String> {
    const STANDARD: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];
    let mut warnings: Vec<String> = format::qualified_name(name)
        .into_iter()
        .map(|it| format!("metadata.finalizers: {name:?}: {it}"))
        .collect();
    if !name.contains('/') && !STANDARD.contains(&name) {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}
