//! Resource claims and their templates.

use coracle_api::{FieldError, FieldPath, Object, format};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    allocation,
    requests::{self, default_spec},
    types,
};
use crate::{
    error::ApiError,
    registry::{Registry, lookup},
    resources::{
        Claim, Column, Part, Strategy, Write,
        columns::{AGE, NAME},
        declared, meta,
        rules::{IMMUTABLE, Place},
        separate_wholly,
        tree::{field, list, map_mut, section, set},
        workloads::showing,
    },
};

/// The behaviour of resource claims.
pub struct ResourceClaims;

/// The behaviour of resource claim templates.
pub struct ResourceClaimTemplates;

impl Strategy for ResourceClaims {
    fn default(&self, object: &mut Object) {
        default_spec(object.section_mut("spec"));
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
        if let (Part::Status, Some(old)) = (write.part, old) {
            allocation::drop_disabled(new);
            allocation::drop_deallocated(new, old);
        } else {
            requests::drop_disabled(new.section_mut("spec"));
        }
        if old.is_none() {
            new.0.insert("status".to_owned(), json!({}));
        }
    }

    fn begin<'a>(
        &'a self,
        registry: &'a Registry,
        write: &'a Write<'a>,
        new: &'a mut Object,
        old: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<Claim, ApiError>> {
        let path = match (write.part, old) {
            (Part::Status, Some(old)) if allocation::of_administrator(old).is_none() => {
                let path = FieldPath::new("status.allocation.devices.results");
                allocation::of_administrator(new).map(|index| path.index(index))
            }
            (Part::Whole, None) => requested(field(new, &["spec", "devices"])),
            _ => None,
        };
        Box::pin(administrator(registry, path, new.namespace()))
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = match (write.part, old) {
            (Part::Status, Some(old)) => allocation::status(new, old),
            (_, None) => requests::spec(section(new, "spec"), &FieldPath::new("spec")),
            _ => Vec::new(),
        };
        declared::check(types::CLAIM, &Place::object(new, old), &mut errors);
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

impl Strategy for ResourceClaimTemplates {
    fn default(&self, object: &mut Object) {
        default_spec(map_mut(object.section_mut("spec"), "spec"));
    }

    fn prepare(&self, _write: &Write<'_>, new: &mut Object, _old: Option<&Object>) {
        requests::drop_disabled(map_mut(new.section_mut("spec"), "spec"));
    }

    fn begin<'a>(
        &'a self,
        registry: &'a Registry,
        _write: &'a Write<'a>,
        new: &'a mut Object,
        old: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<Claim, ApiError>> {
        let path = if old.is_none() { requested(field(new, &["spec", "spec", "devices"])) } else { None };
        Box::pin(administrator(registry, path, new.namespace()))
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        let spec = section(new, "spec");
        let mut errors = Vec::new();
        if old.is_some() {
            // Upstream looks at the metadata as if the template were new.
            errors.extend(meta::validate(new, true, |name, prefix| self.name(name, prefix)));
        }
        let place = Place::object(new, None);
        let within = place.field("spec");
        if let Some(metadata) = within.as_ref().and_then(|it| it.field("metadata")) {
            meta::validate_template(&metadata, &mut errors);
        }
        errors.extend(requests::spec(&spec["spec"], &path.child("spec")));
        if old.is_some_and(|old| section(old, "spec") != spec) {
            let error = FieldError::invalid(&path, spec.clone(), IMMUTABLE);
            errors.push(showing(error, "ResourceClaimTemplateSpec", spec));
        }
        declared::check(types::TEMPLATE, &Place::object(new, old), &mut errors);
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

// Where a claim asks for devices as an administrator. Templates are told the same place.
fn requested(devices: &Value) -> Option<FieldPath> {
    let path = FieldPath::new("spec.devices.requests");
    requests::of_administrator(devices).map(|index| path.index(index))
}

// Whether the namespace lets its claims have devices as an administrator.
async fn administrator(
    registry: &Registry,
    asked: Option<FieldPath>,
    namespace: &str,
) -> Result<Claim, ApiError> {
    const LABEL: &str = "resource.kubernetes.io/admin-access";
    let mut claim = Claim::default();
    let Some(path) = asked.map(|path| path.child("adminAccess")) else { return Ok(claim) };
    let found = lookup::object(registry, ("", "namespaces"), "", namespace).await?;
    if found.is_none_or(|found| found.get_str(&["metadata", "labels", LABEL]) != "true") {
        let detail =
            format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        claim.errors.push(FieldError::forbidden(&path, detail));
    }
    Ok(claim)
}

fn state(claim: &Object) -> String {
    let mut states = Vec::new();
    if claim.deleting() {
        states.push("deleted");
    }
    if set(field(claim, &["status", "allocation"])) {
        states.push("allocated");
        if !list(field(claim, &["status", "reservedFor"])).is_empty() {
            states.push("reserved");
        }
    } else if !claim.deleting() {
        states.push("pending");
    }
    states.join(",")
}

/// The columns of claims.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "State",
        "string",
        "A summary of the current state (allocated, pending, reserved, etc.).",
        |it, _| state(it).into(),
    ),
    AGE,
];

/// The columns of templates.
pub static TEMPLATE_COLUMNS: &[Column] = &[NAME, AGE];
