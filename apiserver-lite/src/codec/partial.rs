//! The metadata of objects without the rest of them.

use std::ops::Range;

use bytes::Bytes;
use coracle_api::{Object, Resource, Status, resource::api_version};
use serde_json::{Value, json};

use super::list::{Item, Joined, Mould};
use crate::{codec, error::ApiError, schema::go_package};

const NAME: &[u8] = b"\"metadata\":";

/// The `PartialObjectMetadata` of an object, in this version of `meta.k8s.io`.
pub fn object(object: &Object, version: &str) -> Value {
    let metadata = object.metadata().cloned().unwrap_or_default();
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version("meta.k8s.io", version), "metadata": metadata })
}

/// The `PartialObjectMetadataList` of objects; of none, upstream writes `null`.
pub fn list(objects: impl Iterator<Item = Object>, metadata: Value, version: &str) -> Value {
    let items: Vec<Value> = objects.map(|it| object(&it, version)).collect();
    let items = if items.is_empty() { Value::Null } else { Value::Array(items) };
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": api_version("meta.k8s.io", version),
        "metadata": metadata,
        "items": items,
    })
}

/// The metadata of an object whose bytes are laid out as stored ones are, beginning with `head` bytes of
/// apiVersion and kind; `None` where they are not.
pub fn metadata_in(object: &[u8], head: usize) -> Option<Range<usize>> {
    let start = start_of_metadata(head);
    let named = object.get(1 + head..start)? == NAME;
    let length = codec::json::end_of_object(object.get(start..).filter(|_| named)?)?;
    Some(start..start + length)
}

/// Where the metadata begins there.
pub fn start_of_metadata(head: usize) -> usize {
    1 + head + NAME.len()
}

/// A list of metadata as [`list`] lays it out, made of the bytes of each.
pub fn joined(metadata: Vec<Bytes>, of_list: &Value, version: &str) -> Joined {
    let api_version = api_version("meta.k8s.io", version);
    let items = metadata.into_iter().map(|it| Item { own: Bytes::new(), shown: it }).collect();
    let opening = format!("{{\"apiVersion\":{api_version:?},\"items\":[");
    let closing = format!("],\"kind\":\"PartialObjectMetadataList\",\"metadata\":{of_list}}}\n");
    let mould = Mould { before: opening_of(version), after: Bytes::from_static(b"}"), ..Mould::default() };
    Joined::of(opening.into(), items, mould, closing.into())
}

/// What comes before the metadata in the JSON of one; a brace comes after it.
pub fn opening_of(version: &str) -> Bytes {
    let api_version = api_version("meta.k8s.io", version);
    format!("{{\"apiVersion\":{api_version:?},\"kind\":\"PartialObjectMetadata\",\"metadata\":").into()
}

/// The error for a client that wants the metadata of a list as one object.
pub fn no_object(facts: &Resource) -> ApiError {
    let (package, kind) = (go_package(&facts.gvk.group), &facts.list_kind);
    refused(format!(
        "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{kind})"
    ))
}

/// The error for a client that wants the metadata of one object as a list.
pub fn no_list(facts: &Resource) -> ApiError {
    let (package, kind) = (go_package(&facts.gvk.group), &facts.gvk.kind);
    refused(format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
    ))
}

fn refused(message: String) -> ApiError {
    ApiError::Status(Box::new(Status::failure(406, "NotAcceptable", message, None)))
}

#[cfg(test)]
mod tests {
    use coracle_api::facts::RESOURCES;

    use super::*;

    #[test]
    fn only_the_metadata_is_shown() {
        let pod =
            || Object::from_value(json!({"metadata": {"name": "a"}, "spec": {"x": 1}})).expect("an object");
        let one = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
        let meta = || json!({"resourceVersion": "5"});
        let of = |items: Value| json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta(), "items": items});
        assert_eq!(object(&pod(), "v1"), one);
        assert_eq!(list([pod()].into_iter(), meta(), "v1"), of(json!([one])));
        assert_eq!(list(std::iter::empty(), meta(), "v1"), of(Value::Null));
    }

    #[test]
    fn joined_bytes_are_what_the_tree_would_be() {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":"}"},"name":"a"},"spec":{}}"#;
        let stored = Bytes::from(text);
        let range = metadata_in(&stored, codec::list::head("v1", "Pod")).expect("metadata");
        let objects = || std::iter::repeat_n(codec::json::parse_stored(&stored), 2);
        let meta = json!({ "resourceVersion": "7" });
        let expected = codec::json::line(&list(objects(), meta.clone(), "v1beta1"));
        let made = joined(vec![stored.slice(range); 2], &meta, "v1beta1");
        assert_eq!(made.left(), expected.len());
        assert_eq!(made.collect::<Vec<_>>().concat(), expected);
        assert_eq!(metadata_in(br#"{"kind":"Pod","metadata":{}}"#, 3), None);
    }

    #[test]
    fn lists_are_no_objects() {
        let pods = RESOURCES.iter().find(|it| it.plural == "pods").expect("pods");
        let status = no_object(pods).status();
        assert_eq!((status.code, status.reason.as_str()), (406, "NotAcceptable"));
        assert!(status.message.ends_with("the requested object is a list (*core.PodList)"));
        assert!(no_list(pods).status().message.ends_with("is not a list (*core.Pod)"));
    }
}
