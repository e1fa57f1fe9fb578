//! The schemas of all kinds that have a protobuf form, by name.

use std::sync::Arc;

use coracle_api::{
    GroupVersionKind, Resource,
    facts::{RESOURCES, apidiscovery_v2, meta_v1},
    resource::api_version,
    schema::{List, ListKind, Ref, Shape, Struct},
};

/// The schema of a kind: a resource, what a subresource takes and gives, a list
/// of resources, or one of the kinds that belong to no resource.
pub fn known(version: &str, kind: &str) -> Option<Ref<Struct>> {
    Some(Ref::Static(match kind {
        "Status" => &meta_v1::STATUS,
        "APIVersions" => &meta_v1::API_VERSIONS,
        "APIGroup" => &meta_v1::API_GROUP,
        "APIGroupList" => &meta_v1::API_GROUP_LIST,
        "APIResourceList" => &meta_v1::API_RESOURCE_LIST,
        "APIGroupDiscoveryList" => &apidiscovery_v2::API_GROUP_DISCOVERY_LIST,
        "PartialObjectMetadata" => &meta_v1::PARTIAL_OBJECT_METADATA,
        "PartialObjectMetadataList" => &meta_v1::PARTIAL_OBJECT_METADATA_LIST,
        _ => return RESOURCES.iter().find_map(|row| of_resource(row, version, kind)),
    }))
}

fn of_resource(row: &Resource, version: &str, kind: &str) -> Option<Ref<Struct>> {
    let named = |gvk: &GroupVersionKind| gvk.kind == kind && api_version(&gvk.group, &gvk.version) == version;
    if named(&row.gvk) {
        return Some(row.schema.clone());
    }
    if row.list_kind == kind && row.api_version() == version {
        return Some(Ref::Shared(Arc::new(list(row))));
    }
    row.subresources.iter().find(|it| named(&it.gvk))?.schema.clone()
}

// As the list of metadata, with other items.
fn list(row: &Resource) -> Struct {
    let mut fields = meta_v1::PARTIAL_OBJECT_METADATA_LIST.fields.to_vec();
    let items = List { element: Shape::Struct(row.schema.clone()), kind: ListKind::Atomic };
    if let Some(field) = fields.iter_mut().find(|field| field.name == "items") {
        field.shape = Shape::List(Ref::Shared(Arc::new(items)));
    }
    Struct { name: row.list_kind.clone(), fields: fields.into(), atomic: false, open: false }
}
