//! What becomes of a pool's nodes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coracle_crds::{
    NodePool,
    node_pool::{NodePoolStatus, POOL, TEMPLATE},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Node,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt;
use serde_json::json;

use crate::{
    digest::digest,
    simulated::machine::{Capacity, Shape, quantities},
};

/// The index of nodes by the pool in their labels.
pub(super) const BY_POOL: &str = "node-pool";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Nodes made in one go.
const MOST_AT_ONCE: usize = 500;
/// Until names that others have are looked at again.
const LATER: Duration = Duration::from_secs(10);

/// A pool, and the nodes that are or could be its own.
pub(super) struct Observed {
    pub(super) pool: Arc<NodePool>,
    pub(super) owned: Vec<Arc<Node>>,
    /// Nodes with the pool's label that nobody owns.
    pub(super) orphans: Vec<Arc<Node>>,
    /// Names that the pool wants and others have.
    pub(super) taken: BTreeSet<String>,
}

/// What to do for it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Node>>,
    pub(super) adopt: Vec<Arc<Node>>,
    pub(super) again: Option<Duration>,
}

/// The pool that a node's label names.
pub(super) fn pool_label(node: &Node) -> Vec<String> {
    node.labels().get(POOL).cloned().into_iter().collect()
}

pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

fn prefix(pool: &NodePool) -> String {
    pool.spec.prefix.clone().unwrap_or_else(|| pool.name_any())
}

/// The names of the nodes that the pool is to have.
pub(super) fn names(pool: &NodePool) -> impl Iterator<Item = String> {
    let prefix = prefix(pool);
    (1..=pool.spec.replicas.max(0)).map(move |ordinal| format!("{prefix}-{ordinal}"))
}

/// The number in the name of a node of the pool.
fn ordinal(pool: &NodePool, name: &str) -> Option<i32> {
    let digits = name.strip_prefix(&prefix(pool))?.strip_prefix('-')?;
    // As it would be written: no zero before it, no sign.
    digits.parse().ok().filter(|number: &i32| *number > 0 && number.to_string() == digits)
}

/// Those of the highest numbers go, and whatever has a name of another form.
pub(super) fn plan(observed: &Observed) -> Plan {
    let pool = &observed.pool;
    if pool.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let wanted = |node: &Node| {
        ordinal(pool, node.metadata.name.as_deref().unwrap_or_default())
            .is_some_and(|ordinal| ordinal <= pool.spec.replicas)
    };
    let delete = observed.owned.iter().filter(|node| !wanted(node) && is_active(node)).cloned().collect();
    let adopt: Vec<Arc<Node>> = observed
        .orphans
        .iter()
        .filter(|node| is_active(node) && ordinal(pool, &node.name_any()).is_some())
        .cloned()
        .collect();
    let there: BTreeSet<&str> =
        observed.owned.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    let mut missing =
        names(pool).filter(|name| !there.contains(name.as_str()) && !observed.taken.contains(name));
    let create = missing.by_ref().take(MOST_AT_ONCE).collect();
    let again = match missing.next() {
        Some(_) => Some(Duration::from_millis(1)),
        None => (!observed.taken.is_empty()).then_some(LATER),
    };
    Plan { create, delete, adopt, again }
}

fn is_active(node: &Node) -> bool {
    node.metadata.deletion_timestamp.is_none()
}

/// Tells one template from another.
fn hash(pool: &NodePool) -> String {
    let written = json!([pool.spec.template, pool.spec.zones]).to_string();
    digest(&[&written]).chars().take(10).collect()
}

/// What the node of this name is like.
pub(super) fn shape(pool: &NodePool, name: &str) -> Shape {
    let template = &pool.spec.template;
    let mut labels = template.labels.clone();
    let at = ordinal(pool, name).and_then(|ordinal| usize::try_from(ordinal - 1).ok()).unwrap_or_default();
    if let Some(zone) = at.checked_rem(pool.spec.zones.len()).and_then(|at| pool.spec.zones.get(at)) {
        labels.insert(ZONE.to_owned(), zone.clone());
    }
    labels.insert(POOL.to_owned(), pool.name_any());
    let mut annotations = template.annotations.clone();
    annotations.insert(TEMPLATE.to_owned(), hash(pool));
    let mut capacity = quantities(&Capacity::default());
    capacity.extend(template.capacity.iter().map(|(name, amount)| (name.clone(), amount.into())));
    Shape {
        labels,
        annotations,
        taints: template.taints.iter().map(|taint| json!(taint)).collect(),
        capacity,
        allocatable: template
            .allocatable
            .iter()
            .map(|(name, amount)| (name.clone(), amount.into()))
            .collect(),
        images: template.images.iter().map(|image| json!(image)).collect(),
    }
}

/// The status that the pool has now, if that is another than it shows.
pub(super) fn status(observed: &Observed, failure: Option<&str>, now: Timestamp) -> Option<NodePoolStatus> {
    let pool = &observed.pool;
    let hash = hash(pool);
    let active: Vec<_> = observed.owned.iter().filter(|node| is_active(node)).collect();
    let count = |what: &dyn Fn(&Node) -> bool| {
        i32::try_from(active.iter().filter(|node| what(node)).count()).unwrap_or(i32::MAX)
    };
    let mut status = NodePoolStatus {
        observed_generation: pool.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: count(&is_ready),
        updated_replicas: count(&|node| node.annotations().get(TEMPLATE) == Some(&hash)),
        selector: Some(format!("{POOL}={}", pool.name_any())),
        conditions: Vec::new(),
    };
    let before = pool.status.as_ref();
    let (is_true, reason, message) = verdict(observed, &status, failure);
    let truth = if is_true { "True" } else { "False" };
    let known = before.and_then(|status| status.conditions.iter().find(|it| it.type_ == "Ready"));
    let since = known.filter(|it| it.status == truth).map(|it| it.last_transition_time.clone());
    let mut conditions = before.map(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|it| it.type_ != "Ready");
    conditions.insert(
        0,
        Condition {
            type_: "Ready".into(),
            status: truth.into(),
            reason: reason.into(),
            message,
            observed_generation: pool.metadata.generation,
            last_transition_time: since
                .unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        },
    );
    status.conditions = conditions;
    (before != Some(&status)).then_some(status)
}

fn verdict(
    observed: &Observed,
    status: &NodePoolStatus,
    failure: Option<&str>,
) -> (bool, &'static str, String) {
    let wanted = observed.pool.spec.replicas;
    if let Some(failure) = failure {
        return (false, "Failed", failure.to_owned());
    }
    if !observed.taken.is_empty() {
        let some: Vec<&str> = observed.taken.iter().take(3).map(String::as_str).collect();
        let more = observed.taken.len().saturating_sub(some.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return (false, "NamesTaken", format!("others have the names {}{more}", some.join(", ")));
    }
    if status.replicas != wanted {
        return (false, "Scaling", format!("{} of {wanted} nodes are there", status.replicas));
    }
    if status.ready_replicas != wanted {
        return (false, "NodesNotReady", format!("{} of {wanted} nodes are ready", status.ready_replicas));
    }
    (true, "NodesReady", format!("{wanted} of {wanted} nodes are ready"))
}
