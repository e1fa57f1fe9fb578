//! Amounts of resources: what pods ask for and nodes have.

use std::collections::BTreeMap;

use coracle_api::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as Text,
};
use serde::Serialize;

/// What a container without a request counts as when nodes are compared.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// The resource's name.
pub const CPU: &str = "cpu";
/// The resource's name.
pub const MEMORY: &str = "memory";
/// The resource's name.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// An amount of each resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// How many pods.
    pub pods: i64,
    /// All others: huge pages and extended resources.
    pub scalars: BTreeMap<String, i64>,
}

type List = BTreeMap<String, Text>;

impl Resources {
    /// Reads a resource list; what is not a quantity counts as nothing.
    pub fn parse(list: &List) -> Self {
        let mut resources = Self::default();
        for (name, text) in list {
            let Ok(quantity) = Quantity::parse(&text.0) else { continue };
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => resources.pods = quantity.value(),
                // Everything else is counted only where names say so.
                name if name.contains('/')
                    || name.starts_with("hugepages-")
                    || name.starts_with("attachable-volumes-") =>
                {
                    resources.scalars.insert(name.to_owned(), quantity.value());
                }
                _ => {}
            }
        }
        resources
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.scalars {
            let own = self.scalars.entry(name.clone()).or_insert(0);
            *own = with(*own, *amount);
        }
    }

    /// How much of `name`: thousandths of a CPU, or as many as its unit is.
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            CPU => self.milli_cpu,
            MEMORY => self.memory,
            EPHEMERAL_STORAGE => self.ephemeral_storage,
            name => self.scalars.get(name).copied().unwrap_or(0),
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises each amount to that of `other`.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// True when nothing but pods is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }
}

/// What a pod asks for.
///
/// Containers run together, init containers one after the other before them,
/// sidecars (init containers that restart) from their turn on. Requests of the
/// whole pod stand in for those of its containers; the overhead is added.
pub fn requests(spec: &PodSpec) -> Resources {
    total(spec, container_requests, true)
}

/// What a pod counts as among those on a node, when nodes are compared:
/// containers that ask for no CPU or memory still count as using some, unless
/// the pod as a whole asks and any of it says how much.
pub fn scoring_requests(spec: &PodSpec) -> Resources {
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let lists = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    let lists: Vec<&List> = lists.chain(&spec.overhead).chain(whole).collect();
    let said = |name: &str| is_whole(spec) && lists.iter().any(|list| list.contains_key(name));
    let (cpu, memory) = (!said(CPU), !said(MEMORY));
    total(spec, |container| with_defaults(container, cpu, memory), true)
}

/// What a pod counts as when it is to be placed and nodes are compared by how
/// full they are: what its containers ask for, not the pod as a whole.
pub fn container_scoring_requests(spec: &PodSpec) -> Resources {
    total(spec, |container| with_defaults(container, true, true), false)
}

/// True when the pod as a whole asks for something.
fn is_whole(spec: &PodSpec) -> bool {
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    whole
        .into_iter()
        .flatten()
        .any(|(name, _)| [CPU, MEMORY].contains(&name.as_str()) || name.starts_with("hugepages-"))
}

fn with_defaults(container: &Container, cpu: bool, memory: bool) -> Resources {
    let list = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let asks = |name: &str| list.is_some_and(|list| list.contains_key(name));
    let mut resources = container_requests(container);
    if cpu && !asks(CPU) {
        resources.milli_cpu = DEFAULT_MILLI_CPU;
    }
    if memory && !asks(MEMORY) {
        resources.memory = DEFAULT_MEMORY;
    }
    resources
}

fn container_requests(container: &Container) -> Resources {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    list.map(Resources::parse).unwrap_or_default()
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources, whole: bool) -> Resources {
    let mut sum = Resources::default();
    for container in &spec.containers {
        sum.add(&of(container));
    }
    let (mut sidecars, mut most) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut needed = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sum.add(&needed);
            sidecars.add(&needed);
            needed = sidecars.clone();
        } else {
            needed.add(&sidecars);
        }
        most.raise(&needed);
    }
    sum.raise(&most);
    let asked = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(whole) = asked.filter(|_| whole) {
        replace(&mut sum, whole);
    }
    if let Some(overhead) = &spec.overhead {
        sum.add(&Resources::parse(overhead));
    }
    sum
}

fn replace(sum: &mut Resources, whole: &List) {
    let parsed = Resources::parse(whole);
    if whole.contains_key("cpu") {
        sum.milli_cpu = parsed.milli_cpu;
    }
    if whole.contains_key("memory") {
        sum.memory = parsed.memory;
    }
    sum.scalars.extend(parsed.scalars.into_iter().filter(|(name, _)| name.starts_with("hugepages-")));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_ask_for_their_busiest_moment() {
        let check = |spec: Value, milli_cpu: i64, memory: i64| {
            let parsed: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            let sum = requests(&parsed);
            assert_eq!((sum.milli_cpu, sum.memory), (milli_cpu, memory), "{spec}");
        };
        let asks = |cpu: &str, memory: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}});
        let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        check(json!({"containers": [asks("100m", "1Ki"), asks("1", "1k")]}), 1100, 2024);
        check(
            json!({"containers": [asks("1", "1")], "initContainers": [asks("3", "0"), asks("2", "5")]}),
            3000,
            5,
        );
        check(json!({"containers": [asks("1", "1")], "initContainers": [sidecar("2")]}), 3000, 1);
        check(
            json!({"containers": [asks("1", "1")], "initContainers": [sidecar("2"), asks("5", "1")]}),
            7000,
            1,
        );
        check(
            json!({"containers": [asks("1", "1")], "initContainers": [asks("5", "1"), sidecar("2")]}),
            5000,
            1,
        );
        check(json!({"containers": [asks("1", "1")], "overhead": {"cpu": "250m"}}), 1250, 1);
        check(json!({"containers": [asks("1", "1")], "resources": {"requests": {"cpu": "4"}}}), 4000, 1);
        check(json!({"containers": [{"name": "c"}]}), 0, 0);
    }

    #[test]
    fn containers_that_ask_for_nothing_still_count_in_comparisons() {
        let spec: PodSpec =
            serde_json::from_value(json!({"containers": [{"name": "a"}, {"name": "b"}]})).unwrap();
        let sum = scoring_requests(&spec);
        assert_eq!((sum.milli_cpu, sum.memory), (200, 2 * DEFAULT_MEMORY));
    }
}
