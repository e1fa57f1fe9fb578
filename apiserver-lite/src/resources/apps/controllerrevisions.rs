//! Controller revisions.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME},
    rules::{self, Check, IMMUTABLE, Rule},
    tree::{field, list, number, section, text},
};

/// The behaviour of controller revisions.
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(&[Check::Field("revision", &[Rule::NotNegative])], new, old);
        let (data, path) = (section(new, "data"), FieldPath::new("data"));
        match old {
            None if data.is_null() => errors.push(FieldError::required(&path, "data is mandatory")),
            None if !data.is_object() => {
                errors.push(FieldError::required(&path, "data must be a valid JSON object"));
            }
            Some(old) if section(old, "data") != data => {
                // Upstream shows the wrapper of its internal version: data
                // that was never decoded.
                errors.push(FieldError::invalid(&path, data.clone(), IMMUTABLE));
            }
            _ => {}
        }
        errors
    }

    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

// `deployment.apps/web`
fn controller(revision: &Object) -> Value {
    let owners = list(field(revision, &["metadata", "ownerReferences"]));
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else { return "<none>".into() };
    let kind = text(&owner["kind"]).to_lowercase();
    let name = text(&owner["name"]);
    match text(&owner["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}").into(),
        None => format!("{kind}/{name}").into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Controller", "string", "Controller of the object", |it, _| controller(it)),
    Column::new(
        "Revision",
        "string",
        "Revision indicates the revision of the state represented by Data.",
        |it, _| number(section(it, "revision")).into(),
    ),
    AGE,
];
