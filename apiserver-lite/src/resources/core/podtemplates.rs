//! Pod templates that stand alone.

use coracle_api::{FieldError, Object, format};

use super::pods::{disabled, template};
use crate::resources::{
    Column, Strategy, Write,
    columns::{NAME, labels},
    rules::{self, Check},
    tree::field,
    workloads,
};

/// The behaviour of pod templates.
pub struct PodTemplates;

const TEMPLATE: &[&str] = &["template"];

impl Strategy for PodTemplates {
    fn default(&self, object: &mut Object) {
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        disabled::drop_template(new.0.get_mut("template"), old.and_then(|old| old.0.get("template")));
        let count = match old {
            None => 1,
            Some(old) => old.generation() + i64::from(new.0.get("template") != old.0.get("template")),
        };
        workloads::generation(new, count);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate(&[Check::Within("template", &[Check::With(template::validate)])], new, old)
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        workloads::warn(write, new, old, TEMPLATE, false)
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Containers", "string", "Names of each container in the template.", |it, _| {
        workloads::names(it, TEMPLATE)
    }),
    Column::new("Images", "string", "Images referenced by each container in the template.", |it, _| {
        workloads::images(it, TEMPLATE)
    }),
    Column::new("Pod Labels", "string", "The labels for the pod template.", |it, _| {
        labels(field(it, &["template", "metadata", "labels"])).into()
    }),
];
