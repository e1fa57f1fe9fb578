//! The `Resource` row: everything about a kind that is a fact and not a
//! behaviour. A built-in kind is a generated row, a CRD makes one at run time.

use std::borrow::Cow;

use crate::schema::{Ref, Struct};

/// Names a kind in one version of its group. The core group's name is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// The API group.
    pub group: Cow<'static, str>,
    /// The version in it.
    pub version: Cow<'static, str>,
    /// The kind.
    pub kind: Cow<'static, str>,
}

impl GroupVersionKind {
    /// The `apiVersion` of such objects: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

/// Joins a group and a version as the `apiVersion` field has them.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A resource served under one group and version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The group, version and kind of its objects.
    pub gvk: GroupVersionKind,
    /// The kind of its lists. Empty where it cannot be listed.
    pub list_kind: Cow<'static, str>,
    /// The name in paths, `pods`.
    pub plural: Cow<'static, str>,
    /// The singular name, `pod`.
    pub singular: Cow<'static, str>,
    /// Short names, `po`.
    pub short_names: Cow<'static, [Cow<'static, str>]>,
    /// Categories, `all`.
    pub categories: Cow<'static, [Cow<'static, str>]>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs that discovery lists, sorted as upstream lists them.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
    /// Its subresources as discovery lists them.
    pub subresources: Cow<'static, [Subresource]>,
    /// The key prefix in the store without slashes around it: upstream's in
    /// etcd, below `/registry/`: `pods`, `services/specs`. Empty where nothing
    /// is stored (reviews, bindings).
    pub storage: Cow<'static, str>,
    /// The version that the store holds; another one is converted.
    pub storage_version: GroupVersionKind,
    /// The `storageVersionHash` of legacy discovery, as upstream publishes it.
    /// Not always that of [`Self::storage_version`]: upstream stores some kinds
    /// (CRDs) in versions that it does not serve. Empty where nothing is stored.
    pub storage_hash: Cow<'static, str>,
    /// The shape of its objects.
    pub schema: Ref<Struct>,
}

impl Resource {
    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        self.gvk.api_version()
    }

    /// `pods`, `deployments.apps`: the name that messages use.
    pub fn qualified_name(&self) -> String {
        qualified(&self.plural, &self.gvk.group)
    }

    /// `Pod`, `Deployment.apps`: the kind as messages name it.
    pub fn qualified_kind(&self) -> String {
        qualified(&self.gvk.kind, &self.gvk.group)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// A subresource, `pods/eviction`.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// The last part of its path, `eviction`.
    pub name: Cow<'static, str>,
    /// The kind that it takes and gives, `policy/v1 Eviction`.
    pub gvk: GroupVersionKind,
    /// The verbs that discovery lists.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
    /// The shape of that kind, where it is one of ours.
    pub schema: Option<Ref<Struct>>,
}
