//! A pod, or the template of one, as the standards look at it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::resources::tree::{at, entries, list, set, text};

/// A pod or a template.
pub struct Pod<'a> {
    /// Its `metadata` and `spec`.
    tree: &'a Value,
}

/// What is not allowed in a pod.
pub struct Fault {
    /// The name of the fault.
    pub reason: &'static str,
    /// What it is in this pod.
    pub detail: String,
}

/// Who sets a field that is not allowed: the pod, some containers.
pub struct Setters {
    /// Whether the pod itself does.
    pub pod: bool,
    /// The names of containers that do.
    pub containers: Vec<String>,
    /// What they set it to, sorted.
    pub values: BTreeSet<String>,
}

impl<'a> Pod<'a> {
    /// The pod in `tree`.
    pub fn of(tree: &'a Value) -> Self {
        Self { tree }
    }

    /// Its spec.
    pub fn spec(&self) -> &'a Value {
        at(self.tree, &["spec"])
    }

    /// Its annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        entries(at(self.tree, &["metadata", "annotations"])).map(|(key, value)| (key, text(value)))
    }

    /// All its containers.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec();
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |place| list(at(spec, &[place])))
    }

    /// Its volumes.
    pub fn volumes(&self) -> &'a [Value] {
        list(at(self.spec(), &["volumes"]))
    }

    /// The names of the containers that `bad` is true of.
    pub fn containers_that(&self, bad: impl Fn(&Value) -> bool) -> Vec<String> {
        self.containers().filter(|it| bad(it)).map(name).collect()
    }

    /// Who sets a field of the security context to a value that `bad` finds
    /// bad; it is asked of fields that are set.
    pub fn setters(&self, path: &[&str], bad: impl Fn(&Value) -> Option<String>) -> Setters {
        let mut setters = Setters { pod: false, containers: Vec::new(), values: BTreeSet::new() };
        let of = |value: &Value| {
            Some(at(at(value, &["securityContext"]), path)).filter(|it| set(it)).and_then(&bad)
        };
        if let Some(value) = of(self.spec()) {
            setters.pod = true;
            setters.values.insert(value);
        }
        for container in self.containers() {
            if let Some(value) = of(container) {
                setters.containers.push(name(container));
                setters.values.insert(value);
            }
        }
        setters
    }

    /// Whether it is for Windows.
    pub fn is_windows(&self) -> bool {
        at(self.spec(), &["os", "name"]) == "windows"
    }

    /// Whether its users are none of the host's.
    pub fn has_own_users(&self) -> bool {
        at(self.spec(), &["hostUsers"]) == false
    }
}

impl Setters {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.pod && self.containers.is_empty()
    }

    /// `pod and container "a"`
    pub fn shown(&self) -> Vec<String> {
        let pod = self.pod.then(|| "pod".to_owned());
        let containers = (!self.containers.is_empty()).then(|| named("container", &self.containers));
        pod.into_iter().chain(containers).collect()
    }
}

fn name(container: &Value) -> String {
    text(at(container, &["name"])).to_owned()
}

/// `one` for one, else its plural.
pub fn plural(one: &str, count: usize) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

/// `containers "a", "b"`
pub fn named(what: &str, names: &[String]) -> String {
    format!("{} {}", plural(what, names.len()), quoted(names))
}

/// `"a", "b"`
pub fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    texts.join(", ")
}
