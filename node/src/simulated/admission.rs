//! Whether a node takes a pod that was given to it.
//!
//! The scheduler has seen to it; a pod that names its node itself may be
//! wrong there. The rules are the scheduler's own.

use std::{borrow::Cow, sync::Arc};

use coracle_controllers::node_selector::selects;
use coracle_scheduler::{PodInfo, resources::Resources};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod_worker::Rejection;

/// Why `node`, on which `others` are, does not take `pod`.
pub(super) fn reject(pod: &Arc<Pod>, node: &Node, others: &[Arc<Pod>]) -> Option<Rejection> {
    let info = PodInfo::new(pod.clone());
    let spec = info.spec()?;
    let others: Vec<PodInfo> =
        others.iter().filter(|other| is_taken(pod, other)).cloned().map(PodInfo::new).collect();
    let capacity = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    if let Some(rejection) = capacity.and_then(|list| short_of(&info, &others, &Resources::parse(list))) {
        return Some(rejection);
    }
    if !selects(spec, node) {
        return Some(failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    let mut taken = others.iter().flat_map(|other| &other.ports);
    if taken.any(|port| info.ports.iter().any(|wanted| wanted.conflicts(port))) {
        return Some(failed("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    None
}

/// What the node lacks for all that a pod it has taken asks for now.
pub(super) fn short_of_room(pod: &Arc<Pod>, node: &Node, others: &[Arc<Pod>]) -> Option<String> {
    let info = PodInfo::new(pod.clone());
    let others: Vec<PodInfo> =
        others.iter().filter(|other| is_taken(pod, other)).cloned().map(PodInfo::new).collect();
    let capacity = node.status.as_ref()?.allocatable.as_ref()?;
    short_of(&info, &others, &Resources::parse(capacity)).map(|rejection| rejection.message)
}

/// Another pod that the node has taken, and that has not ended.
fn is_taken(pod: &Pod, other: &Pod) -> bool {
    let status = other.status.as_ref();
    let ended = status.is_some_and(|s| matches!(s.phase.as_deref(), Some("Succeeded" | "Failed")));
    !ended && status.is_some_and(|s| s.start_time.is_some()) && other.metadata.uid != pod.metadata.uid
}

fn failed(predicate: &'static str, why: &str) -> Rejection {
    Rejection { reason: predicate.into(), message: format!("Predicate {predicate} failed: {why}") }
}

fn short_of(pod: &PodInfo, others: &[PodInfo], capacity: &Resources) -> Option<Rejection> {
    let mut used = Resources::default();
    others.iter().for_each(|other| used.add(&other.requests));
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let wants = &pod.requests;
    let rows = [
        ("OutOfpods", "pods", 1, count, capacity.pods),
        ("OutOfcpu", "cpu", wants.milli_cpu, used.milli_cpu, capacity.milli_cpu),
        ("OutOfmemory", "memory", wants.memory, used.memory, capacity.memory),
        (
            "OutOfephemeral-storage",
            "ephemeral-storage",
            wants.ephemeral_storage,
            used.ephemeral_storage,
            capacity.ephemeral_storage,
        ),
    ];
    let status = pod.pod.status.as_ref();
    let devices = status.and_then(|status| status.extended_resource_claim_status.as_ref());
    let is_device = |name: &str| {
        let served = devices.iter().flat_map(|devices| &devices.request_mappings);
        served.into_iter().any(|mapping| mapping.resource_name == name)
    };
    // Devices that stand in for an extended resource are not counted here.
    let scalars = wants.scalars.keys().filter(|name| !is_device(name)).map(|name| {
        let reason = Cow::Owned(format!("OutOf{name}"));
        (reason, name.as_str(), wants.amount(name), used.amount(name), capacity.amount(name))
    });
    let rows = rows
        .into_iter()
        .map(|(reason, name, wants, used, has)| (Cow::Borrowed(reason), name, wants, used, has));
    let (reason, name, wants, used, has) = rows
        .chain(scalars)
        .find(|(_, _, wants, used, has)| *wants > 0 && used.saturating_add(*wants) > *has)?;
    let message = format!(
        "Node didn't have enough resource: {name}, requested: {wants}, used: {used}, capacity: {has}"
    );
    Some(Rejection { reason, message })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_are_turned_away() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"zone": "a"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2"}},
        }))
        .unwrap();
        let pod = |uid: &str, spec: Value| -> Arc<Pod> {
            let mut value = json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "c"}]},
                                   "status": {"phase": "Running", "startTime": "2024-01-01T00:00:00Z"}});
            value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let asks = |name: &str, amount: &str| json!({"containers": [{"name": "c", "resources": {"requests": {name: amount}}}]});
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let check = |spec: Value, others: &[Arc<Pod>], expected: Option<(&str, &str)>| {
            let rejection = reject(&pod("new", spec.clone()), &node, others);
            let told = rejection.as_ref().map(|r| (r.reason.as_ref(), r.message.as_str()));
            assert_eq!(told, expected, "{spec}");
        };
        check(json!({}), &[pod("1", json!({}))], None);
        check(
            json!({}),
            &[pod("1", json!({})), pod("2", json!({}))],
            Some(("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2")),
        );
        check(
            asks("cpu", "1500m"),
            &[pod("1", asks("cpu", "1"))],
            Some((
                "OutOfcpu",
                "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
            )),
        );
        check(asks("cpu", "2"), &[pod("new", asks("cpu", "2"))], None);
        check(
            asks("example.com/gpu", "1"),
            &[],
            Some((
                "OutOfexample.com/gpu",
                "Node didn't have enough resource: example.com/gpu, requested: 1, used: 0, capacity: 0",
            )),
        );
        check(json!({"nodeSelector": {"zone": "a"}}), &[], None);
        check(
            json!({"nodeSelector": {"zone": "b"}}),
            &[],
            Some((
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            )),
        );
        check(
            port.clone(),
            &[pod("1", port)],
            Some((
                "NodePorts",
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            )),
        );
    }
}
