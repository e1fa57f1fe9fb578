//! When a node was last heard of, and what is said of one that is silent.
//! Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use tokio::time::Instant;

use super::ready;

/// What kubelets report, and a silent node's are unknown. Whether its network
/// is available is somebody else's to say.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is remembered of a node.
///
/// Times are of when something was seen here: what the node's clock says
/// plays no part.
#[derive(Debug, Clone)]
pub(super) struct Health {
    uid: Option<String>,
    ready: Option<NodeCondition>,
    renewed: Option<MicroTime>,
    pub(super) lease_revision: Option<String>,
    pub(super) heard: Instant,
}

impl Health {
    /// What is known of `node` after a look at it and its Lease.
    pub(super) fn look(
        before: Option<&Health>,
        node: &Node,
        lease: Option<&Lease>,
        now: Instant,
        time: Timestamp,
    ) -> Self {
        // Another node of that name is a new one.
        let before = before.filter(|before| before.uid == node.metadata.uid);
        let current = ready(node).cloned();
        let saved = before.and_then(|before| before.ready.as_ref());
        let heard = match (before, saved, &current) {
            (Some(before), None, None) => before.heard,
            (None, _, None) => now.checked_sub(age(node, time)).unwrap_or(now),
            (Some(before), Some(saved), Some(current))
                if saved.last_heartbeat_time == current.last_heartbeat_time =>
            {
                before.heard
            }
            _ => now,
        };
        let mut health = Self {
            uid: node.metadata.uid.clone(),
            ready: current,
            renewed: before.and_then(|before| before.renewed.clone()),
            lease_revision: before.and_then(|before| before.lease_revision.clone()),
            heard,
        };
        if let Some(lease) = lease {
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
            if health.lease_revision.is_none() || health.renewed < renewed {
                health.renewed = renewed;
                health.heard = now;
            }
            health.lease_revision = lease.metadata.resource_version.clone();
        }
        health
    }

    /// True when the node has not been heard of for `grace`.
    pub(super) fn is_silent(&self, grace: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > grace
    }
}

fn age(node: &Node, time: Timestamp) -> Duration {
    let created = node.metadata.creation_timestamp.as_ref().map_or(time, |created| created.0);
    Duration::try_from(time.duration_since(created)).unwrap_or_default()
}

/// The conditions of `node` that a silence of it changes, as they are to be.
pub(super) fn unknown(node: &Node, time: Timestamp) -> Vec<NodeCondition> {
    let known = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let now = Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    REPORTED
        .into_iter()
        .filter_map(|type_| match known.iter().find(|condition| condition.type_ == type_) {
            Some(condition) if condition.status == "Unknown" => None,
            Some(condition) => Some(NodeCondition {
                status: "Unknown".into(),
                reason: Some("NodeStatusUnknown".into()),
                message: Some("Kubelet stopped posting node status.".into()),
                last_transition_time: Some(now.clone()),
                ..condition.clone()
            }),
            None => Some(NodeCondition {
                type_: type_.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(now.clone()),
            }),
        })
        .collect()
}
