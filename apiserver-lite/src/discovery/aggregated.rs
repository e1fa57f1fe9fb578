//! Aggregated discovery: all groups, or the core group, in one document
//! (`apidiscovery.k8s.io/v2`, KEP-3352).

use std::borrow::Cow;

use serde::Serialize;

use super::{
    groups::{self, Group, Version},
    legacy,
};

/// `APIGroupDiscoveryList`. Without kind and version it is what upstream takes
/// the ETag of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Groups<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    metadata: Name<'a>,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
struct Item<'a> {
    metadata: Name<'a>,
    versions: Vec<Served<'a>>,
}

#[derive(Serialize)]
struct Served<'a> {
    version: &'a str,
    resources: Vec<Entry<'a>>,
    freshness: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    resource: &'a str,
    response_kind: Kind<'a>,
    scope: &'static str,
    singular_resource: &'a str,
    verbs: &'a [Cow<'static, str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [Cow<'static, str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [Cow<'static, str>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<Subentry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subentry<'a> {
    subresource: &'a str,
    response_kind: Kind<'a>,
    verbs: &'a [Cow<'static, str>],
}

#[derive(Serialize)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> Groups<'a> {
    /// The document of these groups.
    pub fn new(groups: impl Iterator<Item = &'a Group>) -> Self {
        let items = groups.map(|group| Item {
            metadata: Name { name: &group.name },
            versions: group.versions.iter().map(served).collect(),
        });
        Self { kind: None, api_version: None, metadata: Name { name: "" }, items: items.collect() }
    }

    /// With the kind and version that the body has.
    pub fn typed(self) -> Self {
        Self { kind: Some("APIGroupDiscoveryList"), api_version: Some("apidiscovery.k8s.io/v2"), ..self }
    }
}

fn served(version: &Version) -> Served<'_> {
    Served {
        version: &version.name,
        resources: version.resources.iter().map(entry).collect(),
        freshness: "Current",
    }
}

fn entry(resource: &groups::Served) -> Entry<'_> {
    // Upstream names group and version for CRDs only.
    let whole = groups::custom(resource);
    let (group, version) = if whole { (&*resource.gvk.group, &*resource.gvk.version) } else { ("", "") };
    let subresources = resource.subresources.iter().map(|it| {
        let (group, version) = if whole {
            (it.gvk.group.as_ref(), it.gvk.version.as_ref())
        } else {
            legacy::response(resource, it)
        };
        Subentry {
            subresource: &it.name,
            response_kind: Kind { group, version, kind: &it.gvk.kind },
            verbs: &it.verbs,
        }
    });
    Entry {
        resource: &resource.plural,
        response_kind: Kind { group, version, kind: &resource.gvk.kind },
        scope: if resource.namespaced { "Namespaced" } else { "Cluster" },
        singular_resource: &resource.singular,
        verbs: resource.told_verbs(),
        short_names: &resource.short_names,
        categories: &resource.categories,
        subresources: subresources.collect(),
    }
}
