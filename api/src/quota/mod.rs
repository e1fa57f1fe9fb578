//! What objects use of a resource quota: shared by who charges for it and who
//! counts it again.
//!
//! Start at [`Evaluator`]. Pure: it sees objects, and never where they are.

mod pod;
mod scope;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{Quantity, quantity::Family};

pub use scope::Scope;

/// Amounts by the name of what they are of.
pub type Amounts = BTreeMap<String, Quantity>;

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const NODE_PORTS: &str = "services.nodeports";
const LOAD_BALANCERS: &str = "services.loadbalancers";
const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";

/// Knows what objects of one kind use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluator {
    /// Pods.
    Pod,
    /// Services.
    Service,
    /// Claims of volumes.
    Claim,
    /// Any other kind: its objects are counted, under these names.
    Count(Vec<String>),
}

impl Evaluator {
    /// That of a kind; nothing for kinds that no quota is about.
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        let unmeasured = matches!(
            (group, plural),
            ("" | "events.k8s.io", "events")
                | ("", "bindings")
                | ("authorization.k8s.io" | "authentication.k8s.io", _)
        );
        if unmeasured {
            return None;
        }
        Some(match (group, plural) {
            ("", "pods") => Self::Pod,
            ("", "services") => Self::Service,
            ("", CLAIMS) => Self::Claim,
            ("", "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets") => {
                Self::Count(vec![count_name(group, plural), plural.to_owned()])
            }
            _ => Self::Count(vec![count_name(group, plural)]),
        })
    }

    /// Whether it measures what goes by `name` in a quota.
    pub fn measures(&self, name: &str) -> bool {
        match self {
            Self::Pod => pod::measures(name),
            Self::Service => matches!(name, "count/services" | "services" | NODE_PORTS | LOAD_BALANCERS),
            Self::Claim => {
                let of_class =
                    |what: &str| name.strip_suffix(what).is_some_and(|it| it.ends_with(STORAGE_CLASS));
                matches!(name, "count/persistentvolumeclaims" | CLAIMS | STORAGE)
                    || of_class(CLAIMS)
                    || of_class(STORAGE)
            }
            Self::Count(names) => names.iter().any(|it| it == name),
        }
    }

    /// What `object` uses.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        match self {
            Self::Pod => pod::usage(object, now),
            Self::Service => service(object),
            Self::Claim => claim(object),
            Self::Count(names) => names.iter().map(|name| (name.clone(), one())).collect(),
        }
    }

    /// Whether the quota's scopes hold for `object`. A scope that a kind does
    /// not know never holds.
    pub fn in_scope(&self, scopes: &[Scope], object: &Value) -> bool {
        scopes.iter().all(|scope| match self {
            Self::Pod => scope.holds_for_pod(object),
            Self::Claim => scope.holds_for_claim(object),
            Self::Service | Self::Count(_) => false,
        })
    }

    /// What `object` must say for quotas of `names`, and does not.
    pub fn missing(&self, names: &[&str], object: &Value) -> Option<String> {
        match self {
            Self::Pod => pod::missing(names, object),
            _ => None,
        }
    }
}

/// Whether a pod has a time by which it ends.
pub fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

/// The name by which all objects of a kind are counted.
pub fn count_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        _ => format!("count/{plural}.{group}"),
    }
}

fn one() -> Quantity {
    whole(1)
}

fn whole(count: usize) -> Quantity {
    Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Family::DecimalSi)
}

/// The amounts of an object of quantities.
pub fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    let parsed = entries.filter_map(|(name, value)| {
        let quantity = match value {
            Value::String(text) => Quantity::parse(text).ok()?,
            Value::Number(number) => Quantity::parse(&number.to_string()).ok()?,
            _ => return None,
        };
        Some((name.clone(), quantity))
    });
    parsed.collect()
}

/// Adds `more` to `amounts`.
pub fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, value) in more {
        let sum = amounts.get(name).map_or_else(|| value.clone(), |known| known.plus(value));
        amounts.insert(name.clone(), sum);
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn service(object: &Value) -> Amounts {
    let spec = &object["spec"];
    let ports = items(&spec["ports"]);
    let balanced = text(&spec["type"]) == "LoadBalancer";
    let node_ports = match text(&spec["type"]) {
        "NodePort" => ports.len(),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count()
        }
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let names = [
        ("count/services", 1),
        ("services", 1),
        (LOAD_BALANCERS, usize::from(balanced)),
        (NODE_PORTS, node_ports),
    ];
    names.into_iter().map(|(name, count)| (name.to_owned(), whole(count))).collect()
}

fn claim(object: &Value) -> Amounts {
    let mut used = Amounts::new();
    let annotated = text(&object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]);
    let class = if annotated.is_empty() { text(&object["spec"]["storageClassName"]) } else { annotated };
    let mut charge = |name: &str, amount: Quantity| {
        if !class.is_empty() && name != "count/persistentvolumeclaims" {
            used.insert(format!("{class}{STORAGE_CLASS}{name}"), amount.clone());
        }
        used.insert(name.to_owned(), amount);
    };
    charge(CLAIMS, one());
    charge("count/persistentvolumeclaims", one());
    let asked = amounts(&object["spec"]["resources"]["requests"]).remove("storage");
    let allocated = amounts(&object["status"]["allocatedResources"]).remove("storage");
    if let Some(asked) = asked {
        let mut amount = allocated.filter(|allocated| *allocated > asked).unwrap_or(asked);
        // Parts of bytes are counted as whole ones.
        amount.round_up(0);
        charge(STORAGE, amount);
    }
    used
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &str, object: Value, expected: Value) {
        let evaluator = Evaluator::of("", kind).unwrap();
        let used = evaluator.usage(&object, "2024-01-01T00:00:00Z".parse().unwrap());
        for name in used.keys() {
            assert!(
                evaluator.measures(name) || !name.contains('.') || name.contains("/"),
                "{name} is measured"
            );
        }
        let shown: BTreeMap<_, _> = used.iter().map(|(name, value)| (name, value.to_string())).collect();
        assert_eq!(json!(shown), expected, "{object}");
    }

    #[test]
    fn services_use_ports_and_balancers() {
        let counts = |balancers: &str, ports: &str| json!({"count/services": "1", "services": "1", LOAD_BALANCERS: balancers, NODE_PORTS: ports});
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        check("services", json!({"spec": {"ports": ports}}), counts("0", "0"));
        check("services", json!({"spec": {"type": "NodePort", "ports": ports}}), counts("0", "2"));
        check("services", json!({"spec": {"type": "LoadBalancer", "ports": ports}}), counts("1", "2"));
        let some =
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}});
        check("services", some, counts("1", "1"));
    }

    #[test]
    fn claims_use_storage_also_of_their_class() {
        check(
            CLAIMS,
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({CLAIMS: "1", "count/persistentvolumeclaims": "1", STORAGE: "1Gi",
                   "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
                   "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}),
        );
        check(
            CLAIMS,
            json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"allocatedResources": {"storage": "2Gi"}}}),
            json!({CLAIMS: "1", "count/persistentvolumeclaims": "1", STORAGE: "2Gi"}),
        );
    }

    #[test]
    fn pods_use_what_their_containers_ask_for() {
        let pod = |phase: &str| {
            json!({"status": {"phase": phase}, "spec": {
                "initContainers": [{"resources": {"requests": {"cpu": "2", "memory": "1"}}}],
                "containers": [
                    {"resources": {"requests": {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "3"}, "limits": {"cpu": "1"}}},
                    {"resources": {"requests": {"cpu": "200m"}}},
                ],
            }})
        };
        check(
            "pods",
            pod("Running"),
            json!({"count/pods": "1", "pods": "1", "cpu": "2", "requests.cpu": "2", "memory": "1Gi",
                   "requests.memory": "1Gi", "limits.cpu": "1", "requests.example.com/gpu": "3"}),
        );
        check("pods", pod("Succeeded"), json!({"count/pods": "1"}));
    }

    #[test]
    fn what_containers_must_say() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}});
        let missing = |names: &[&str]| Evaluator::Pod.missing(names, &pod);
        assert_eq!(missing(&["pods"]), None);
        let expected = "must specify limits.memory for: a,b; requests.cpu for: a";
        assert_eq!(missing(&["requests.cpu", "limits.memory"]).as_deref(), Some(expected));
    }

    #[test]
    fn scopes() {
        let check = |spec: Value, scope: Value, expected: bool| {
            let quota = match scope {
                Value::String(_) => json!({"spec": {"scopes": [scope]}}),
                _ => json!({"spec": {"scopeSelector": {"matchExpressions": [scope]}}}),
            };
            let pod = json!({"spec": spec});
            assert_eq!(Evaluator::Pod.in_scope(&Scope::of(&quota), &pod), expected, "{quota} on {pod}");
        };
        let plain = json!({"containers": [{}]});
        let burst =
            json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}], "activeDeadlineSeconds": 5});
        check(plain.clone(), json!("BestEffort"), true);
        check(plain.clone(), json!("NotTerminating"), true);
        check(burst.clone(), json!("BestEffort"), false);
        check(burst.clone(), json!("NotBestEffort"), true);
        check(burst, json!("Terminating"), true);
        let class =
            |operator: &str| json!({"scopeName": "PriorityClass", "operator": operator, "values": ["high"]});
        check(json!({"priorityClassName": "high"}), class("In"), true);
        check(json!({"priorityClassName": "low"}), class("In"), false);
        check(json!({"priorityClassName": "low"}), class("NotIn"), true);
        check(json!({}), class("Exists"), false);
        check(json!({}), class("DoesNotExist"), true);
        let cross = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}});
        check(cross, json!("CrossNamespacePodAffinity"), true);
        check(plain, json!("CrossNamespacePodAffinity"), false);
    }
}
