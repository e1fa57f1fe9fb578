//! The rows in discovery's order: groups, their versions, their resources.

use std::{borrow::Cow, cmp::Ordering, ops::Deref, sync::Arc};

use coracle_api::{Resource, schema::Ref};
use serde_json::Value;

use crate::resources::Row;

/// A resource as discovery tells of it.
pub struct Served {
    facts: Ref<Resource>,
    row: Option<Arc<Row>>,
}

impl From<Ref<Resource>> for Served {
    fn from(facts: Ref<Resource>) -> Self {
        Self { facts, row: None }
    }
}

impl From<&Arc<Row>> for Served {
    fn from(row: &Arc<Row>) -> Self {
        Self { facts: row.facts.clone(), row: Some(row.clone()) }
    }
}

impl Deref for Served {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.facts
    }
}

impl Served {
    /// The verbs that clients are told of.
    pub fn told_verbs(&self) -> &[Cow<'static, str>] {
        const LEFT: &[Cow<'static, str>] = &[
            Cow::Borrowed("delete"),
            Cow::Borrowed("deletecollection"),
            Cow::Borrowed("get"),
            Cow::Borrowed("list"),
            Cow::Borrowed("watch"),
        ];
        if self.row.as_ref().is_some_and(|row| row.strategy.going()) { LEFT } else { &self.facts.verbs }
    }

    /// What its CRD says of the version.
    pub fn said(&self) -> Option<Value> {
        self.row.as_ref()?.strategy.said()
    }

    /// Tells what the CRD says apart from what it said before.
    pub fn stamp(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.strategy.stamp())
    }
}

/// An API group.
pub struct Group {
    /// Its name, empty for the core group.
    pub name: String,
    /// Its versions, the preferred one first.
    pub versions: Vec<Version>,
}

/// A version of a group.
pub struct Version {
    /// Its name, `v1`.
    pub name: String,
    /// What it serves.
    pub resources: Vec<Served>,
}

/// Whether a row was made from a CRD.
pub fn custom(resource: &Served) -> bool {
    matches!(resource.facts, Ref::Shared(_))
}

/// Sorts resources into groups. Built-in ones keep the order of their rows;
/// groups of CRDs follow by name, with their versions by age and stability.
pub fn sorted(resources: impl Iterator<Item = impl Into<Served>>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for resource in resources {
        let resource: Served = resource.into();
        let at = place(
            &mut groups,
            |it| it.name == resource.gvk.group,
            || Group { name: resource.gvk.group.to_string(), versions: Vec::new() },
        );
        let version = place(
            &mut at.versions,
            |it| it.name == resource.gvk.version,
            || Version { name: resource.gvk.version.to_string(), resources: Vec::new() },
        );
        version.resources.push(resource);
    }
    for group in &mut groups {
        if is_custom(group) {
            group.versions.sort_by(|a, b| by_stability(&a.name, &b.name));
            for version in &mut group.versions {
                version.resources.sort_by(|a, b| a.plural.cmp(&b.plural));
            }
        }
    }
    groups.sort_by(|a, b| match (is_custom(a), is_custom(b)) {
        (true, true) => a.name.cmp(&b.name),
        (a, b) => a.cmp(&b),
    });
    groups
}

fn is_custom(group: &Group) -> bool {
    group.versions.iter().flat_map(|version| &version.resources).all(custom)
}

// The element that `is` finds, made when there is none.
fn place<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let at = list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    &mut list[at]
}

/// Upstream's order of versions: `v10 v2 v1 v11beta2 v3beta1 v12alpha1 foo`.
pub fn by_stability(a: &str, b: &str) -> Ordering {
    match (stability(a), stability(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

// (2 stable | 1 beta | 0 alpha, major, minor)
fn stability(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let major = number(major)?;
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    Some((level, major, number(minor)?))
}

fn number(text: &str) -> Option<u64> {
    let plain = text.starts_with(|c: char| ('1'..='9').contains(&c));
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use coracle_api::facts::RESOURCES;

    use super::*;

    fn crd(group: &'static str, version: &'static str, plural: &'static str) -> Ref<Resource> {
        let mut resource = RESOURCES[0].clone();
        (resource.gvk.group, resource.gvk.version) = (Cow::Borrowed(group), Cow::Borrowed(version));
        resource.plural = Cow::Borrowed(plural);
        Ref::Shared(Arc::new(resource))
    }

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions =
            ["v1", "foo10", "v11alpha2", "v3beta1", "v10", "v11beta2", "v2", "v0", "foo1", "v12alpha1"];
        versions.sort_by(|a, b| by_stability(a, b));
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10", "v0"];
        assert_eq!(versions, expected);
    }

    #[test]
    fn crds_come_last_by_name() {
        let custom = [
            crd("z.io", "v1beta1", "a"),
            crd("a.io", "v1", "b"),
            crd("z.io", "v1", "c"),
            crd("a.io", "v1", "a"),
        ];
        let builtin = RESOURCES.iter().map(|it| Ref::Static(*it));
        let groups = sorted(custom.into_iter().chain(builtin));
        let names: Vec<_> = groups.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names[0], "");
        assert_eq!(&names[names.len() - 2..], ["a.io", "z.io"]);
        let last = &groups[names.len() - 1];
        assert_eq!(last.versions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["v1", "v1beta1"]);
        let first = &groups[names.len() - 2].versions[0];
        assert_eq!(first.resources.iter().map(|it| it.plural.as_ref()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
