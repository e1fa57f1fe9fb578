//! The metadata of objects without the rest of them.

use coracle_api::{Object, resource::api_version};
use serde_json::{Value, json};

/// The `PartialObjectMetadata` of an object, in this version of `meta.k8s.io`.
pub fn object(object: &Object, version: &str) -> Value {
    let metadata = object.metadata().cloned().unwrap_or_default();
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version("meta.k8s.io", version), "metadata": metadata })
}
