//! Storage version migrations.

use coracle_api::{FieldError, FieldPath, Object, facts::meta_v1, format};
use serde_json::{Value, json};

use crate::{
    resources::{
        Column, Part, Strategy, Write,
        columns::NAMED,
        conditions::conditions,
        meta,
        rules::{IMMUTABLE, Place},
        separate_wholly,
        tree::{self, field, list, section, text},
        workloads::showing,
    },
    schema::go_order,
};

/// The behaviour of storage version migrations.
pub struct StorageVersionMigrations;

impl Strategy for StorageVersionMigrations {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match (write.part, old) {
            (Part::Status, Some(old)) => progress(new, old),
            _ => migrated(new, old),
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

// What is migrated: a resource's names are those that API services have.
fn migrated(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = FieldPath::new("spec");
    let path = spec.child("resource");
    let of = |name: &str| text(field(new, &["spec", "resource", name])).to_owned();
    let (group, resource) = (of("group"), of("resource"));
    let mut errors = Vec::new();
    let mut refuse = |name: &str, value: &str, faults: Vec<String>| {
        if value.is_empty() && name == "resource" {
            errors.push(FieldError::required(&path.child(name), "resource is required to be set"));
        } else if !value.is_empty() && !faults.is_empty() {
            errors.push(FieldError::invalid(&path.child(name), value, faults.join(",")));
        }
    };
    refuse("resource", &resource, format::dns1035_label(&resource));
    refuse("group", &group, format::dns1123_subdomain(&group));
    if let Some(old) = old {
        errors.extend(meta::validate(new, false, format::name_is_subdomain));
        let value = section(new, "spec");
        if section(old, "spec") != value {
            let error = FieldError::invalid(&spec, value.clone(), IMMUTABLE);
            errors.push(showing(error, "StorageVersionMigrationSpec", value));
        }
    }
    errors
}

// What is said of the way it goes: what was reached stays so.
fn progress(new: &Object, old: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status");
    let mut errors = Vec::new();
    let revision = |it: &Object| it.get_str(&["status", "resourceVersion"]).to_owned();
    let (now, before) = (revision(new), revision(old));
    let at = path.child("resourceVersion");
    if let Some(fault) = revision_fault(&now) {
        errors.push(FieldError::invalid(&at, now.as_str(), fault));
    }
    let place = Place::object(new, None);
    let status = place.field("status");
    let list = status.as_ref().and_then(|status| status.field("conditions"));
    if let Some(list) = &list {
        conditions(list, &mut errors);
    }
    if !before.is_empty() && before != now {
        errors.push(FieldError::invalid(&at, now, IMMUTABLE));
    }
    let given = tree::list(list.as_ref().map_or(&Value::Null, Place::value));
    let mut refuse = |detail: &str| {
        let error = FieldError::invalid(&path.child("conditions"), json!(given), detail);
        errors.push(error.showing(go_order::list(given, &meta_v1::CONDITION)));
    };
    if is(new, "Succeeded") && is(new, "Failed") {
        refuse("Both success and failed conditions cannot be true at the same time");
    }
    if is(old, "Succeeded") && !is(new, "Succeeded") {
        refuse("Success condition cannot be set to false once it is true");
    }
    if is(old, "Failed") && !is(new, "Failed") {
        refuse("Failed condition cannot be set to false once it is true");
    }
    errors
}

// The first condition of a type is the one that counts.
fn is(migration: &Object, kind: &str) -> bool {
    let mut conditions = list(field(migration, &["status", "conditions"])).iter();
    conditions.find(|it| text(&it["type"]) == kind).is_some_and(|it| text(&it["status"]) == "True")
}

// A revision is a number without a sign or leading zeros.
fn revision_fault(revision: &str) -> Option<String> {
    let good = !revision.starts_with('0') && revision.bytes().all(|it| it.is_ascii_digit());
    (!good).then(|| format!("resource version is not well formed: {revision}"))
}

fn resource(migration: &Object) -> String {
    let resource = field(migration, &["spec", "resource"]);
    match (text(&resource["resource"]), text(&resource["group"])) {
        (resource, "") => resource.to_owned(),
        (resource, group) => format!("{resource}.{group}"),
    }
}

fn status(migration: &Object) -> &str {
    let conditions = list(field(migration, &["status", "conditions"])).iter();
    let mut reached = conditions.filter(|it| text(&it["status"]) == "True").map(|it| text(&it["type"]));
    reached.rfind(|kind| ["Running", "Failed", "Succeeded"].contains(kind)).unwrap_or("Unknown")
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    // Upstream gives this one no format.
    Column::new("Name", "string", NAMED, |it, _| it.name().into()),
    Column::new("Resource", "string", "GroupResource to migrate", |it, _| resource(it).into()),
    Column::new("Status", "string", "Status of the migration", |it, _| status(it).into()),
];
