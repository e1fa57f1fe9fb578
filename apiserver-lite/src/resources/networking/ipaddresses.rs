//! IP addresses: who has which cluster address.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::resources::{
    Cell, Column, Strategy, Write,
    columns::NAME,
    core::addresses,
    rules::{self, Check, IMMUTABLE, Rule},
    tree::{field, text},
};

/// The behaviour of IP addresses.
pub struct IpAddresses;

impl Strategy for IpAddresses {
    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let parent = field(new, &["spec", "parentRef"]);
        let path = FieldPath::new("spec").child("parentRef");
        let mut errors = if parent.is_null() {
            vec![FieldError::required(&path, "")]
        } else {
            rules::validate(ADDRESS, new, None)
        };
        if old.is_some_and(|old| parent != field(old, &["spec", "parentRef"])) {
            // Upstream's text has a pointer there, which it does not follow.
            errors.push(FieldError::invalid(&path, Value::Null, IMMUTABLE));
        }
        errors
    }

    fn name(&self, name: &str, _prefix: bool) -> Vec<String> {
        addresses::canonical_ip(name, &FieldPath::default()).into_iter().map(|error| error.detail).collect()
    }
}

static ADDRESS: &[Check] = &[Check::Within("spec", &[Check::Within("parentRef", PARENT)])];

static PARENT: &[Check] = &[
    Check::Field("group", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Field("resource", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::path_segment_name)]),
    Check::Field("namespace", &[Rule::Format(format::path_segment_name)]),
];

fn parent(address: &Object) -> String {
    let parent = field(address, &["spec", "parentRef"]);
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let (group, resource) = (text(&parent["group"]), text(&parent["resource"]));
    let kind = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let parts =
        [kind.to_lowercase(), text(&parent["namespace"]).to_owned(), text(&parent["name"]).to_owned()];
    let (last, rest) = (&parts[2], parts[..2].iter().filter(|part| !part.is_empty()));
    rest.chain([last]).map(String::as_str).collect::<Vec<_>>().join("/")
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "ParentRef",
        "string",
        "parentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
        |it, _| parent(it).into(),
    ),
    // Upstream tells nobody that the age stands there too.
    Column::with("", "string", "", Cell::Since(&["metadata", "creationTimestamp"])),
];
