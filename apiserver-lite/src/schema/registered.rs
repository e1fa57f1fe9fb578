//! Which kinds upstream's scheme knows: more than it serves.

use coracle_api::{facts::RESOURCES, schema::Struct};

/// Versions that are no longer served but can still be read, with the version
/// that took over. Their kinds have the same names.
const FORMER: &[(&str, &str)] = &[
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("batch", "v1beta1"),
    ("autoscaling", "v2beta1"),
    ("autoscaling", "v2beta2"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
    ("storage.k8s.io", "v1beta1"),
    ("networking.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("coordination.k8s.io", "v1beta1"),
    ("certificates.k8s.io", "v1beta1"),
    ("scheduling.k8s.io", "v1alpha1"),
    ("scheduling.k8s.io", "v1beta1"),
    ("admissionregistration.k8s.io", "v1alpha1"),
    ("admissionregistration.k8s.io", "v1beta1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
];

/// Whether the kind is registered under that group and version.
pub(super) fn kind(group: &str, version: &str, kind: &str) -> bool {
    let former = FORMER.contains(&(group, version));
    let within =
        |gvk: &coracle_api::GroupVersionKind| gvk.group == group && (former || gvk.version == version);
    RESOURCES.iter().any(|it| {
        let own = within(&it.gvk) && (it.gvk.kind == kind || it.list_kind == kind);
        own || it.subresources.iter().any(|sub| within(&sub.gvk) && sub.gvk.kind == kind)
    })
}

/// The schema of a kind that is served.
pub(super) fn schema(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    let is = |gvk: &coracle_api::GroupVersionKind| {
        gvk.group == group && gvk.version == version && gvk.kind == kind
    };
    RESOURCES.iter().find(|it| is(&it.gvk)).map(|it| &*it.schema)
}

/// The Go package of a group's internal types.
pub(crate) fn package(group: &str) -> &str {
    match group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        "internal" => "apiserverinternal",
        name => name,
    }
}
