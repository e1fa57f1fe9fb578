//! The columns that a CRD asks for.

use std::{borrow::Cow, sync::Arc};

use coracle_api::Object;
use jiff::Timestamp;
use serde_json::Value;

use super::json_path::JsonPath;
use crate::resources::{
    Cell, Column, age,
    columns::NAME,
    tree::{list, number, text},
};

const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column by a path into the object.
pub struct PathColumn {
    path: JsonPath,
    kind: Box<str>,
}

/// The columns of a version: the name, and what it asks for; without that, the
/// age. A path that cannot be read leaves the name alone.
pub fn of(version: &Value) -> Vec<Column> {
    let asked = list(&version["additionalPrinterColumns"]);
    let mut columns = vec![NAME];
    if asked.is_empty() {
        let path = ".metadata.creationTimestamp";
        columns.extend(column("Age", "date", "", AGE_DESCRIPTION, 0, path));
        return columns;
    }
    for it in asked {
        let path = text(&it["jsonPath"]);
        let description = match text(&it["description"]) {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            description => description.to_owned(),
        };
        let priority = i32::try_from(number(&it["priority"])).unwrap_or(0);
        let made =
            column(text(&it["name"]), text(&it["type"]), text(&it["format"]), &description, priority, path);
        let Some(made) = made else { return columns };
        columns.push(made);
    }
    columns
}

fn column(
    name: &str,
    kind: &str,
    format: &str,
    description: &str,
    priority: i32,
    path: &str,
) -> Option<Column> {
    let path = JsonPath::parse(path).ok()?;
    let owned = |text: &str| Cow::Owned(text.to_owned());
    Some(Column {
        name: owned(name),
        kind: owned(kind),
        format: owned(format),
        description: owned(description),
        priority,
        cell: Cell::Path(Arc::new(PathColumn { path, kind: kind.into() })),
    })
}

impl PathColumn {
    /// The time whose age is all that stands in the column for an object.
    pub fn moment(&self, object: &Object) -> Option<Timestamp> {
        if &*self.kind != "date" {
            return None;
        }
        let tree = Value::Object(object.0.clone());
        self.path.find(&tree).ok()?.first()?.as_str()?.parse().ok()
    }

    /// What stands in the column for an object.
    pub fn cell(&self, object: &Object, now: Timestamp) -> Value {
        // The path is one into the whole object.
        let tree = Value::Object(object.0.clone());
        let Ok(found) = self.path.find(&tree) else { return Value::Null };
        let Some(value) = found.first() else { return Value::Null };
        match &*self.kind {
            "string" => printed(value).into(),
            "integer" => match (value.as_i64(), value.as_f64()) {
                (Some(whole), _) => whole.into(),
                (None, Some(number)) => (number as i64).into(),
                _ => Value::Null,
            },
            "number" if value.is_number() => (*value).clone(),
            "boolean" if value.is_boolean() => (*value).clone(),
            "date" => match value {
                Value::String(text) if text.parse::<Timestamp>().is_err() => "<invalid>".into(),
                Value::String(_) => age::since(Some(value), now).into(),
                _ => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

// As the library prints a value: trees as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(it) if it.is_f64() => coracle_api::field::go_float(it.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}
