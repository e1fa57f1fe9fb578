//! The fields that a write to a part of an object does not own, because the
//! server sets them back: the status in writes to the whole, the spec in
//! writes to the status, and what else upstream's strategies name.

use coracle_api::Resource;

use super::fieldset::{Element, FieldSet};

/// Which fields of a write count.
pub enum Filter {
    /// All but those at these paths and below them.
    Without(Paths),
    /// Only those at and below these paths; `*` is any element.
    Only(Paths),
}

/// Paths of field names.
pub type Paths = &'static [&'static [&'static str]];

const NONE: Paths = &[];
const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
const SPEC_AND_METADATA: Paths = &[&["metadata"], &["spec"]];

const EPHEMERAL_CONTAINERS: Paths = &[&["spec", "ephemeralContainers"]];
const RESIZE: Paths = &[
    &["spec", "containers", "*", "resizePolicy"],
    &["spec", "containers", "*", "resources"],
    &["spec", "initContainers", "*", "resizePolicy"],
    &["spec", "initContainers", "*", "resources"],
];

impl Filter {
    /// The filter of writes to `subresource`, or to the whole where that is empty.
    pub fn of(resource: &Resource, subresource: &str) -> Self {
        match (resource.plural.as_ref(), subresource) {
            ("pods", "ephemeralcontainers") if resource.gvk.group.is_empty() => {
                Self::Only(EPHEMERAL_CONTAINERS)
            }
            ("pods", "resize") if resource.gvk.group.is_empty() => Self::Only(RESIZE),
            _ => Self::Without(paths(resource, subresource)),
        }
    }

    /// What is left of a set.
    pub fn apply<'a>(&self, mut set: FieldSet<'a>) -> FieldSet<'a> {
        match self {
            Self::Without(paths) => {
                paths.iter().for_each(|path| set.cut(path));
                set
            }
            Self::Only(paths) => only(&set, paths),
        }
    }
}

fn only<'a>(set: &FieldSet<'a>, paths: &[&[&str]]) -> FieldSet<'a> {
    let mut out = FieldSet::default();
    for node in set.nodes() {
        let below: Vec<&[&str]> = paths.iter().filter_map(|path| step(path, &node.element)).collect();
        if below.iter().any(|path| path.is_empty()) {
            out.push(node.element.clone(), node.member, node.children.clone());
        } else if !below.is_empty() {
            out.push(node.element.clone(), node.member, only(&node.children, &below));
        }
    }
    out
}

fn step<'p>(path: &'p [&'p str], element: &Element<'_>) -> Option<&'p [&'p str]> {
    let (first, rest) = path.split_first()?;
    (*first == "*" || *element == Element::Field(first)).then_some(rest)
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
