//! What pods use.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Amounts, add, amounts, items, one, text};

const HUGE_PAGES: &str = "hugepages-";
// Quotas of these want every container to say how much; of no others.
const REQUIRED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn measures(name: &str) -> bool {
    let requested = name.strip_prefix("requests.");
    matches!(
        name,
        "count/pods"
            | "pods"
            | "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
    ) || name.starts_with(HUGE_PAGES)
        || requested.is_some_and(|it| it.starts_with(HUGE_PAGES) || is_extended(it) || is_implicit(it))
}

// In a domain that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn is_implicit(name: &str) -> bool {
    name.starts_with("deviceclass.resource.kubernetes.io/")
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([("count/pods".to_owned(), one())]);
    if counts(pod, now) {
        let charged = charged(&total(pod, "requests"), &total(pod, "limits"));
        add(&mut used, &charged);
    }
    used
}

/// A pod that has ended, or should be gone by now, takes nothing from others.
fn counts(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") {
        return false;
    }
    let deleted = text(&pod["metadata"]["deletionTimestamp"]).parse::<Timestamp>().ok();
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => {
            deleted.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|gone| now <= gone)
        }
        _ => true,
    }
}

/// Requests and limits by the names that quotas have for them.
fn charged(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if native || name.starts_with(HUGE_PAGES) {
            used.insert(name.clone(), amount.clone());
        }
        if native || name.starts_with(HUGE_PAGES) || is_extended(name) || is_implicit(name) {
            used.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), amount.clone());
        }
    }
    used
}

fn largest(amounts: &mut Amounts, others: &Amounts) {
    for (name, value) in others {
        if amounts.get(name).is_none_or(|known| known < value) {
            amounts.insert(name.clone(), value.clone());
        }
    }
}

/// What the pod asks for in all: what runs at once, at its most.
fn total(pod: &Value, kind: &str) -> Amounts {
    let spec = &pod["spec"];
    let mut sum = Amounts::new();
    for container in items(&spec["containers"]) {
        add(&mut sum, &asked(pod, container, kind));
    }
    let (mut at_start, mut sidecars) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let mut now = asked(pod, container, kind);
        if text(&container["restartPolicy"]) == "Always" {
            add(&mut sum, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        largest(&mut at_start, &now);
    }
    largest(&mut sum, &at_start);
    for (name, value) in amounts(&spec["resources"][kind]) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with(HUGE_PAGES) {
            sum.insert(name, value);
        }
    }
    let mut overhead = amounts(&spec["overhead"]);
    if kind == "limits" {
        // What is not limited stays so.
        overhead.retain(|name, _| sum.get(name).is_some_and(|limit| !limit.is_zero()));
    }
    add(&mut sum, &overhead);
    sum
}

/// What a container asks for, or still has while it is being resized.
fn asked(pod: &Value, container: &Value, kind: &str) -> Amounts {
    let mut asked = amounts(&container["resources"][kind]);
    let statuses =
        ["containerStatuses", "initContainerStatuses"].iter().flat_map(|list| items(&pod["status"][list]));
    let name = text(&container["name"]);
    let Some(status) = statuses.into_iter().find(|status| text(&status["name"]) == name) else {
        return asked;
    };
    let mut had = amounts(&status["resources"][kind]);
    if kind == "requests" {
        largest(&mut had, &amounts(&status["allocatedResources"]));
    }
    had.retain(|name, _| asked.contains_key(name));
    largest(&mut asked, &had);
    asked
}

pub(super) fn missing(names: &[&str], pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let of_pod = ["requests", "limits"].iter().any(|kind| !amounts(&spec["resources"][kind]).is_empty());
    if of_pod {
        return None;
    }
    let required: Vec<&str> = REQUIRED.into_iter().filter(|name| names.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
        let resources = &container["resources"];
        let said = charged(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
        for name in required.iter().filter(|name| !said.contains_key(**name)) {
            missing.entry(name).or_default().insert(text(&container["name"]));
        }
    }
    if missing.is_empty() {
        return None;
    }
    let texts = missing.into_iter().map(|(name, containers)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    });
    Some(format!("must specify {}", texts.collect::<Vec<_>>().join("; ")))
}
