//! The metadata of objects without the rest of them.

use coracle_api::{Object, Resource, Status, resource::api_version};
use serde_json::{Value, json};

use crate::{error::ApiError, schema::go_package};

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
    fn lists_are_no_objects() {
        let pods = RESOURCES.iter().find(|it| it.plural == "pods").expect("pods");
        let status = no_object(pods).status();
        assert_eq!((status.code, status.reason.as_str()), (406, "NotAcceptable"));
        assert!(status.message.ends_with("the requested object is a list (*core.PodList)"));
        assert!(no_list(pods).status().message.ends_with("is not a list (*core.Pod)"));
    }
}
