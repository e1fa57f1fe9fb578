//! Storage version migrations.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::NAMED,
    rules::IMMUTABLE,
    separate_wholly,
    tree::{field, list, section, text},
};

/// The behaviour of storage version migrations.
pub struct StorageVersionMigrations;

impl Strategy for StorageVersionMigrations {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let path = FieldPath::new("spec");
        if write.part == Part::Status {
            return Vec::new();
        }
        if text(field(new, &["spec", "resource", "resource"])).is_empty() {
            return vec![FieldError::required(&path.child("resource").child("resource"), "")];
        }
        match old {
            Some(old) if section(old, "spec") != section(new, "spec") => {
                vec![FieldError::invalid(&path, section(new, "spec").clone(), IMMUTABLE)]
            }
            _ => Vec::new(),
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
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
