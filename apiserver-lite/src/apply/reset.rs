//! The fields that a write to a part of an object does not own, because the
//! server sets them back: the status in writes to the whole, the spec in
//! writes to the status, and what else upstream's strategies name.

use coracle_api::Resource;

use super::fieldset::FieldSet;

/// The fields of a write that do not count.
pub struct Filter(Paths);

type Paths = &'static [&'static [&'static str]];

const NONE: Paths = &[];
const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
const SPEC_AND_METADATA: Paths = &[&["metadata"], &["spec"]];

impl Filter {
    /// The filter of writes to `subresource`, or to the whole where that is empty.
    pub fn of(resource: &Resource, subresource: &str) -> Self {
        Self(paths(resource, subresource))
    }

    /// What is left of a set.
    pub fn apply<'a>(&self, mut set: FieldSet<'a>) -> FieldSet<'a> {
        self.0.iter().for_each(|path| set.cut(path));
        set
    }
}

fn paths(resource: &Resource, subresource: &str) -> Paths {
    match (resource.gvk.group.as_ref(), resource.plural.as_ref(), subresource) {
        ("certificates.k8s.io", "certificatesigningrequests", "") => &[&["spec"], &["status"]],
        ("certificates.k8s.io", "certificatesigningrequests", "status") => {
            &[&["spec"], &["status", "conditions"]]
        }
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => {
            &[&["spec"], &["status", "certificate"]]
        }
        ("apps", "deployments", "status") => &[&["metadata", "labels"], &["spec"]],
        ("", "pods", "status") => {
            &[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"], &["spec"]]
        }
        ("", "namespaces", "finalize") => STATUS,
        ("" | "apps" | "batch" | "autoscaling" | "policy" | "apiextensions.k8s.io", _, "status")
        | ("networking.k8s.io", "ingresses", "status") => SPEC,
        (_, _, "status") => SPEC_AND_METADATA,
        (_, _, "") if resource.subresource("status").is_some() => STATUS,
        _ => NONE,
    }
}
