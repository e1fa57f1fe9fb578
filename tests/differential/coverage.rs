//! What was asked of which kind: a table, and what is missing in it.

use std::collections::BTreeMap;
use std::fmt;

use coracle_api::Resource;
use coracle_api::facts::RESOURCES;

use crate::exchange::Exchange;

/// What is done to an object, as the columns of the table have it.
const OPERATIONS: &[&str] = &[
    "create",
    "refused",
    "get",
    "yaml",
    "protobuf",
    "table",
    "metadata",
    "list",
    "watch",
    "update",
    "json",
    "merge",
    "strategic",
    "apply",
    "status",
    "scale",
    "delete",
    "collection",
];

/// How often each kind had each operation.
#[derive(Default)]
pub struct Coverage(BTreeMap<String, BTreeMap<&'static str, usize>>);

impl Coverage {
    /// Counts an exchange that the reference answered with `status`.
    pub fn note(&mut self, exchange: &Exchange, status: u16) {
        let Some((method, url)) = exchange.request.split_once(' ') else { return };
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        // A path within a namespace is one below the namespace as well.
        let matching = RESOURCES.iter().filter_map(|row| Some((row, rest(row, path)?)));
        let Some((row, rest)) = matching.min_by_key(|(_, rest)| rest.len()) else { return };
        let subresource = rest.split('/').nth(1).unwrap_or_default();
        let named = !rest.is_empty();
        let success = (200..300).contains(&status);
        let content_type = exchange.content_type.as_deref().unwrap_or_default();
        let accept = exchange.headers.get("Accept").map(String::as_str).unwrap_or_default();
        let operation = match (method, subresource) {
            (_, "status") => "status",
            (_, "scale") => "scale",
            (_, sub) if !sub.is_empty() => return,
            ("POST", _) if !success => "refused",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("DELETE", _) => {
                if named {
                    "delete"
                } else {
                    "collection"
                }
            }
            ("PATCH", _) => match content_type {
                "application/json-patch+json" => "json",
                "application/merge-patch+json" => "merge",
                "application/strategic-merge-patch+json" => "strategic",
                _ => "apply",
            },
            ("GET", _) if exchange.watch.is_some() || query.contains("watch=") => "watch",
            ("GET", _) if accept.contains("as=Table") => "table",
            ("GET", _) if accept.contains("as=Partial") => "metadata",
            ("GET", _) if accept.contains("yaml") => "yaml",
            ("GET", _) if accept.contains("protobuf") => "protobuf",
            ("GET", _) => {
                if named {
                    "get"
                } else {
                    "list"
                }
            }
            _ => return,
        };
        *self.0.entry(title(row)).or_default().entry(operation).or_default() += 1;
    }

    /// The kinds that allow something which nobody asked for.
    pub fn missing(&self) -> Vec<String> {
        let missing = RESOURCES.iter().filter_map(|row| {
            let asked = self.0.get(&title(row));
            let lacks = |operation: &&str| asked.is_none_or(|asked| !asked.contains_key(operation));
            let lacking: Vec<&str> =
                OPERATIONS.iter().copied().filter(|it| allows(row, it)).filter(lacks).collect();
            (!lacking.is_empty()).then(|| format!("{}: {}", title(row), lacking.join(", ")))
        });
        missing.collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:48}", "")?;
        OPERATIONS.iter().try_for_each(|operation| write!(f, " {operation:>9}"))?;
        writeln!(f)?;
        for (kind, asked) in &self.0 {
            write!(f, "{kind:48}")?;
            for operation in OPERATIONS {
                match asked.get(operation) {
                    Some(count) => write!(f, " {count:>9}")?,
                    None => write!(f, " {:>9}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn title(row: &Resource) -> String {
    format!("{}/{}", row.api_version(), row.plural)
}

// What follows the resource in `path`: nothing for a collection, else the name and what it has.
fn rest<'p>(row: &Resource, path: &'p str) -> Option<&'p str> {
    let version = row.api_version();
    let root = if version.contains('/') { format!("/apis/{version}/") } else { format!("/api/{version}/") };
    let mut rest = path.strip_prefix(&root)?;
    if row.plural != "namespaces"
        && let Some(within) = rest.strip_prefix("namespaces/")
    {
        rest = within.split_once('/')?.1;
    }
    let after = rest.strip_prefix(row.plural.as_ref())?;
    if row.plural == "namespaces" && after.split('/').count() > 3 {
        return None;
    }
    if after.is_empty() { Some("") } else { after.strip_prefix('/') }
}

// Whether it is something that the kind has.
fn allows(row: &Resource, operation: &str) -> bool {
    let verb = |verb: &str| row.verbs.iter().any(|it| *it == verb);
    let subresource = |name: &str| row.subresources.iter().any(|it| it.name == name);
    match operation {
        "create" | "refused" => verb("create"),
        "get" | "yaml" | "protobuf" | "table" | "metadata" => verb("get"),
        "list" => verb("list"),
        "watch" => verb("watch"),
        "update" => verb("update"),
        "json" | "merge" | "strategic" | "apply" => verb("patch"),
        "status" | "scale" => subresource(operation),
        "delete" => verb("delete"),
        "collection" => verb("deletecollection"),
        _ => false,
    }
}
