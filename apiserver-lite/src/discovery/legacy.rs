//! The discovery documents of old: a list of groups, and one of resources for
//! each version. Their fields stand in upstream's order.

use coracle_api::{Resource, resource::Subresource, resource::api_version};
use serde::Serialize;

use super::groups::{Group, Served, Version};

/// `/api`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersions<'a> {
    kind: &'static str,
    versions: Vec<&'a str>,
    #[serde(rename = "serverAddressByClientCIDRs")]
    addresses: [Address<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Address<'a> {
    #[serde(rename = "clientCIDR")]
    client: &'static str,
    server_address: &'a str,
}

/// `/apis`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiGroupList<'a> {
    kind: &'static str,
    api_version: &'static str,
    groups: Vec<ApiGroup<'a>>,
}

/// `/apis/GROUP`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiGroup<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    name: &'a str,
    versions: Vec<GroupVersion<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_version: Option<GroupVersion<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion<'a> {
    group_version: String,
    version: &'a str,
}

/// `/api/v1`, `/apis/GROUP/VERSION`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiResourceList<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    group_version: String,
    resources: Vec<ApiResource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    kind: &'a str,
    verbs: &'a [std::borrow::Cow<'static, str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [std::borrow::Cow<'static, str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [std::borrow::Cow<'static, str>],
    #[serde(skip_serializing_if = "str::is_empty")]
    storage_version_hash: &'a str,
}

impl<'a> ApiVersions<'a> {
    /// The versions of the core group, served at that address.
    pub fn new(core: &'a Group, address: &'a str) -> Self {
        Self {
            kind: "APIVersions",
            versions: core.versions.iter().map(|it| it.name.as_str()).collect(),
            addresses: [Address { client: "0.0.0.0/0", server_address: address }],
        }
    }
}

impl<'a> ApiGroupList<'a> {
    /// All groups but the core one.
    pub fn new(groups: &'a [Group]) -> Self {
        let named = groups.iter().filter(|group| !group.name.is_empty());
        Self { kind: "APIGroupList", api_version: "v1", groups: named.map(ApiGroup::entry).collect() }
    }
}

impl<'a> ApiGroup<'a> {
    /// A document of its own.
    pub fn new(group: &'a Group) -> Self {
        Self { kind: Some("APIGroup"), api_version: Some("v1"), ..Self::entry(group) }
    }

    fn entry(group: &'a Group) -> Self {
        let version = |it: &'a Version| GroupVersion {
            group_version: api_version(&group.name, &it.name),
            version: &it.name,
        };
        Self {
            kind: None,
            api_version: None,
            name: &group.name,
            versions: group.versions.iter().map(version).collect(),
            preferred_version: group.versions.first().map(version),
        }
    }
}

impl<'a> ApiResourceList<'a> {
    /// What a version of a group serves.
    pub fn new(group: &'a Group, version: &'a Version) -> Self {
        Self {
            kind: "APIResourceList",
            // Upstream leaves it out for the core group, for clients of old.
            api_version: (!group.name.is_empty()).then_some("v1"),
            group_version: api_version(&group.name, &version.name),
            resources: version.resources.iter().flat_map(entries).collect(),
        }
    }
}

// A resource and its subresources.
fn entries(resource: &Served) -> impl Iterator<Item = ApiResource<'_>> {
    let own = ApiResource {
        name: resource.plural.to_string(),
        singular_name: &resource.singular,
        namespaced: resource.namespaced,
        group: "",
        version: "",
        kind: &resource.gvk.kind,
        verbs: resource.told_verbs(),
        short_names: &resource.short_names,
        categories: &resource.categories,
        storage_version_hash: &resource.storage_hash,
    };
    let subresources = resource.subresources.iter().map(|it| subresource(resource, it));
    std::iter::once(own).chain(subresources)
}

fn subresource<'a>(resource: &'a Resource, it: &'a Subresource) -> ApiResource<'a> {
    let (group, version) = response(resource, it);
    ApiResource {
        name: format!("{}/{}", resource.plural, it.name),
        singular_name: "",
        namespaced: resource.namespaced,
        group,
        version,
        kind: &it.gvk.kind,
        verbs: &it.verbs,
        short_names: &[],
        categories: &[],
        storage_version_hash: "",
    }
}

/// The group and version of a subresource's kind, empty where they are those
/// of the resource.
pub fn response<'a>(resource: &Resource, it: &'a Subresource) -> (&'a str, &'a str) {
    let same = it.gvk.group == resource.gvk.group && it.gvk.version == resource.gvk.version;
    if same { ("", "") } else { (&it.gvk.group, &it.gvk.version) }
}
