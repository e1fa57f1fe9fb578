//! Objects as the rows of a table: what `kubectl get` prints.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use coracle_api::{Object, field::go_quote, resource::api_version};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    kept::Held,
    list::{Item, Joined, Mould},
    partial,
};
use crate::{
    error::ApiError,
    registry::metadata,
    request::Query,
    resources::{Column, Row, age},
};

/// How much of its object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Reads `includeObject`. What the query says of headers is not upstream's to
/// read.
///
/// # Errors
/// 400 for what it cannot be.
pub fn include(query: &Query) -> Result<Include, ApiError> {
    match query.get("includeObject").unwrap_or_default() {
        "None" => Ok(Include::None),
        "" | "Metadata" => Ok(Include::Metadata),
        "Object" => Ok(Include::Object),
        other => Err(ApiError::BadRequest(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', \
             'Object', 'None', or empty",
            go_quote(other)
        ))),
    }
}

/// The definitions of columns. One without a name has cells, and nobody is told what they are.
pub fn definitions(columns: &[Column]) -> Value {
    columns
        .iter()
        .filter(|column| !column.name.is_empty())
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect()
}

/// The cells of an object's row in JSON, with holes for the ages in them: all that changes in them with time.
pub struct Cells {
    text: Box<str>,
    // Where in the text an age goes, and of what time.
    ages: Box<[(u32, Timestamp)]>,
}

impl Cells {
    /// The cells of an object; `None` when something else in them than an age is relative to now.
    pub fn of(object: &Object, kind: &Row, now: Timestamp) -> Option<Self> {
        let (mut text, mut ages) = (String::from("["), Vec::new());
        for (at, column) in kind.columns.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            if let Some(time) = column.cell.moment(object) {
                ages.push((u32::try_from(text.len()).ok()?, time));
                continue;
            }
            let value = column.cell.of(object, now);
            if value != column.cell.of(object, Timestamp::MAX) {
                return None;
            }
            text.push_str(&value.to_string());
        }
        text.push(']');
        Some(Self { text: text.into(), ages: ages.into() })
    }

    /// Their JSON at this time.
    pub fn at(&self, now: Timestamp) -> Bytes {
        let mut out = String::with_capacity(self.text.len() + 8 * self.ages.len());
        let mut written = 0;
        for (at, time) in &self.ages {
            let at = *at as usize;
            out.push_str(&self.text[written..at]);
            out.push('"');
            out.push_str(&age::between(*time, now));
            out.push('"');
            written = at;
        }
        out.push_str(&self.text[written..]);
        out.into()
    }
}

impl Held for Arc<Cells> {
    fn size(&self) -> usize {
        self.text.len() + self.ages.len() * size_of::<(u32, Timestamp)>()
    }
}

/// A table as [`table`] lays it out, made of the JSON of each row's cells and of what it carries. `include` says
/// what that is.
pub fn joined(
    version: &str,
    metadata: &Value,
    columns: &[Column],
    include: Include,
    rows: Vec<Item>,
) -> Joined {
    let api_version = api_version("meta.k8s.io", version);
    let columns = definitions(columns);
    let opening = format!(
        "{{\"apiVersion\":{api_version:?},\"columnDefinitions\":{columns},\"kind\":\"Table\",\"metadata\":{metadata},\"rows\":["
    );
    let (between, after) = match include {
        Include::None => (Bytes::from_static(b",\"object\":null"), "}"),
        Include::Object => (Bytes::from_static(b",\"object\":"), "}"),
        Include::Metadata => ([&b",\"object\":"[..], &partial::opening_of(version)].concat().into(), "}}"),
    };
    let mould = Mould { before: Bytes::from_static(b"{\"cells\":"), between, after: after.into() };
    Joined::of(opening.into(), rows, mould, Bytes::from_static(b"]}\n"))
}

/// The cells of an object's row.
pub fn cells(object: &Object, kind: &Row, now: Timestamp) -> Value {
    kind.columns.iter().map(|column| column.cell.of(object, now)).collect()
}

/// The row of an object, in a table of its kind.
pub fn row(object: &Object, kind: &Row, include: Include, version: &str, now: Timestamp) -> Value {
    let cells = cells(object, kind, now);
    let shown = match include {
        Include::None => return json!({ "cells": cells, "object": null }),
        Include::Metadata => partial::object(&without(object, kind.strategy.carriers()), version),
        Include::Object => object.clone().into_value(),
    };
    json!({ "cells": cells, "object": shown })
}

/// The object without the annotations that carry its fields: they are not shown.
pub fn without<'a>(object: &'a Object, carriers: &[&str]) -> Cow<'a, Object> {
    if !carriers.iter().any(|name| object.annotation(name).is_some()) {
        return Cow::Borrowed(object);
    }
    let mut left = object.clone();
    if let Some(Value::Object(annotations)) = left.metadata_mut().get_mut("annotations") {
        annotations.retain(|name, _| !carriers.contains(&name.as_str()));
        if annotations.is_empty() {
            left.set_meta("annotations", None);
        }
    }
    Cow::Owned(left)
}

/// A table of rows. Without `columns` it goes on from one that was sent.
pub fn table(version: &str, metadata: Value, columns: Option<&[Column]>, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": api_version("meta.k8s.io", version),
        "metadata": metadata,
        "columnDefinitions": columns.map_or(Value::Null, definitions),
        "rows": rows,
    })
}

/// The name of an object, as the first column of most kinds.
pub fn name_cell(object: &Object, _now: Timestamp) -> Value {
    object.name().into()
}

/// When an object was made, as the last column of kinds without their own.
pub fn created_cell(object: &Object, _now: Timestamp) -> Value {
    match metadata::instant(object.meta_str("creationTimestamp")) {
        Some(time) => metadata::stamp(time).into(),
        None => "<unknown>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::resources::{DEFAULT_COLUMNS, builtins};

    fn kind(plural: &str) -> Row {
        builtins().into_iter().find(|it| it.facts.plural == plural).expect("a kind")
    }

    fn role() -> Object {
        let metadata = json!({ "name": "view", "creationTimestamp": "2026-11-24T06:10:30Z" });
        Object::from_value(json!({ "metadata": metadata, "rules": [] })).expect("an object")
    }

    #[test]
    fn rows_carry_what_was_asked_for() {
        let partial = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1beta1",
            "metadata": { "name": "view", "creationTimestamp": "2026-11-24T06:10:30Z" } });
        for (include, shown) in [
            (Include::None, Value::Null),
            (Include::Metadata, partial),
            (Include::Object, role().into_value()),
        ] {
            let row = row(&role(), &kind("roles"), include, "v1beta1", Timestamp::UNIX_EPOCH);
            assert_eq!(row, json!({ "cells": ["view", "2026-11-24T06:10:30Z"], "object": shown }));
        }
    }

    #[test]
    fn rows_do_not_show_what_carries_fields() {
        let check = |annotations: Value, expected: Value| {
            let set = Object::from_value(json!({ "metadata": { "annotations": annotations } }));
            let set = set.expect("an object");
            let row = row(&set, &kind("daemonsets"), Include::Metadata, "v1", Timestamp::UNIX_EPOCH);
            assert_eq!(row["object"]["metadata"], expected);
        };
        check(json!({ "deprecated.daemonset.template.generation": "1" }), json!({}));
        check(
            json!({ "a": "b", "deprecated.daemonset.template.generation": "1" }),
            json!({ "annotations": { "a": "b" } }),
        );
    }

    // Every kind's rows, joined of bytes, are those of the tree, at any time.
    #[test]
    fn cells_are_kept_but_for_their_ages() {
        let made: Timestamp = "2026-11-24T06:10:30Z".parse().expect("a time");
        let mut kept = 0;
        for kind in builtins() {
            let metadata = json!({ "name": "\"a\"", "creationTimestamp": made.to_string() });
            let object = Object::from_value(json!({ "metadata": metadata })).expect("an object");
            let Some(cells) = Cells::of(&object, &kind, made) else { continue };
            kept += 1;
            for seconds in [0, 59, 3_000, 400_000] {
                let now = made + jiff::SignedDuration::from_secs(seconds);
                for include in [Include::None, Include::Metadata, Include::Object] {
                    let shown = match include {
                        Include::None => Bytes::new(),
                        Include::Metadata => object.0["metadata"].to_string().into(),
                        Include::Object => object.clone().into_value().to_string().into(),
                    };
                    let meta = json!({ "resourceVersion": "5" });
                    let rows = vec![Item { own: cells.at(now), shown }];
                    let joined = joined("v1", &meta, &kind.columns, include, rows);
                    let row = row(&object, &kind, include, "v1", now);
                    let expected = codec::json::line(&table("v1", meta, Some(&kind.columns), vec![row]));
                    assert_eq!(joined.collect::<Vec<_>>().concat(), expected, "{}", kind.facts.plural);
                }
            }
        }
        assert!(kept > 60, "{kept} kinds");
    }

    #[test]
    fn only_the_first_table_of_a_watch_has_columns() {
        let first = table("v1", json!({}), Some(DEFAULT_COLUMNS), Vec::new());
        assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
        let heads: Vec<_> = first["columnDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| {
                [&it["name"], &it["type"], &it["format"], &it["priority"]].map(Value::to_string).join(" ")
            })
            .collect();
        assert_eq!(heads, [r#""Name" "string" "name" 0"#, r#""Created At" "date" "" 0"#]);
        assert_eq!(first["rows"], json!([]));
        assert_eq!(table("v1", json!({}), None, Vec::new())["columnDefinitions"], Value::Null);
    }

    #[test]
    fn include_object() {
        let of = |text: &str| include(&Query::parse(text)).map_err(|error| error.to_string());
        for (text, expected) in [
            ("", Ok(Include::Metadata)),
            ("includeObject=Metadata", Ok(Include::Metadata)),
            ("includeObject=None", Ok(Include::None)),
            ("includeObject=Object", Ok(Include::Object)),
            (
                "includeObject=x",
                Err("Unable to convert to Table as requested: includeObject: Invalid value: \"x\": must be \
                     'Metadata', 'Object', 'None', or empty"
                    .to_owned()),
            ),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
