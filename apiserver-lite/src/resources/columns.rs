//! The columns that most kinds' tables share, and the pieces of the others.

use std::borrow::Cow;

use coracle_api::Object;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Cell, Column, age,
    tree::{count, entries, field, list, set, text},
};

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
/// What `metadata.name` is.
pub const NAMED: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The object's name.
pub const NAME: Column = named(|it, _| it.name().into());

/// How long ago the object was created.
pub const AGE: Column =
    Column::with("Age", "string", CREATED, Cell::Since(&["metadata", "creationTimestamp"]));

/// When the object was created.
pub const CREATED_AT: Column =
    Column::new("Created At", "date", CREATED, |it, _| field(it, &["metadata", "creationTimestamp"]).clone());

/// The column of the name, with something else in it.
pub const fn named(cell: fn(&Object, Timestamp) -> Value) -> Column {
    as_name("Name", NAMED, cell)
}

/// A text column with the format of a name.
pub const fn as_name(
    name: &'static str,
    description: &'static str,
    cell: fn(&Object, Timestamp) -> Value,
) -> Column {
    Column {
        name: Cow::Borrowed(name),
        kind: Cow::Borrowed("string"),
        format: Cow::Borrowed("name"),
        description: Cow::Borrowed(description),
        priority: 0,
        cell: Cell::Of(cell),
    }
}

/// The same column, shown with `-o wide` only.
pub const fn wide(mut column: Column) -> Column {
    column.priority = 1;
    column
}

/// How long ago the time at a path is.
pub fn since(object: &Object, path: &[&str], now: Timestamp) -> Value {
    age::since(object.get(path), now).into()
}

/// The text at a path.
pub fn show(object: &Object, path: &[&str]) -> Value {
    text(field(object, path)).into()
}

/// The text at a path, or `other` where the field is absent.
pub fn show_or(object: &Object, path: &[&str], other: &str) -> Value {
    let value = field(object, path);
    if set(value) { text(value).into() } else { other.into() }
}

/// The text at a path, or `other` where that is empty.
pub fn filled_or(object: &Object, path: &[&str], other: &str) -> Value {
    match text(field(object, path)) {
        "" => other.into(),
        text => text.into(),
    }
}

/// The whole number at a path, 0 where there is none.
pub fn integer(object: &Object, path: &[&str]) -> Value {
    field(object, path).as_i64().unwrap_or_default().into()
}

/// The truth at a path.
pub fn boolean(object: &Object, path: &[&str]) -> Value {
    field(object, path).as_bool().unwrap_or_default().into()
}

/// How many elements or entries there are at a path.
pub fn size(object: &Object, path: &[&str]) -> Value {
    count(field(object, path)).into()
}

/// The first three of `items`, and how many more there are; `none` where
/// there are none.
pub fn some_of(items: &[String], none: &str) -> String {
    const SHOWN: usize = 3;
    if items.is_empty() {
        return none.to_owned();
    }
    let first = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match items.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{first} + {more} more..."),
        _ => first,
    }
}

/// A map of labels as `a=b,c=d`.
pub fn labels(map: &Value) -> String {
    if count(map) == 0 {
        return "<none>".to_owned();
    }
    let mut pairs: Vec<String> = entries(map).map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    pairs.join(",")
}

/// A `metav1.LabelSelector` as a selector's text.
pub fn selector(selector: &Value) -> String {
    if selector.is_null() {
        return "<none>".to_owned();
    }
    let equal = entries(&selector["matchLabels"]).map(|(key, value)| (key, format!("{key}={}", text(value))));
    let rest = list(&selector["matchExpressions"]).iter().filter_map(|it| {
        let key = text(&it["key"]);
        let mut values: Vec<&str> = list(&it["values"]).iter().map(text).collect();
        values.sort_unstable();
        let shown = match text(&it["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        };
        Some((key, shown))
    });
    let mut all: Vec<(&str, String)> = equal.chain(rest).collect();
    if all.is_empty() {
        return "<none>".to_owned();
    }
    all.sort_by(|a, b| a.0.cmp(b.0));
    all.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>().join(",")
}
