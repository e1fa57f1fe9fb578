//! Looks at all nodes, every period.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    NodeLifecycle, Timing, WORKERS,
    health::{Health, unknown},
    ready, taints,
    zones::{Census, Turn, Zones, zone},
};
use crate::framework::{Error, Key, absent, until};

const LEASES: &str = "kube-node-lease";
/// Nodes with this label do not count when a zone's health is judged.
const NOT_COUNTED: &str = "node.kubernetes.io/exclude-disruption";
/// The shortest time between two rounds of tainting.
const ROUND: Duration = Duration::from_millis(100);

/// Looks until `shutdown`.
pub(super) async fn run(lifecycle: Arc<NodeLifecycle>, timing: Timing, shutdown: CancellationToken) {
    let mut monitor = Monitor {
        lifecycle,
        timing,
        known: HashMap::new(),
        to_retry: HashSet::new(),
        zones: Zones::default(),
    };
    let mut look_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= look_at {
            if until(&shutdown, monitor.look()).await.is_none() {
                return;
            }
            look_at = Instant::now() + monitor.timing.monitor_period.max(ROUND);
        }
        if until(&shutdown, monitor.taint()).await.is_none() {
            return;
        }
        let soonest = Instant::now() + ROUND;
        let due = monitor.zones.tainters().filter_map(|tainter| tainter.due()).min();
        let next = due.map_or(look_at, |due| due.max(soonest).min(look_at));
        if until(&shutdown, tokio::time::sleep_until(next)).await.is_none() {
            return;
        }
    }
}

struct Monitor {
    lifecycle: Arc<NodeLifecycle>,
    timing: Timing,
    known: HashMap<String, (Arc<Node>, Health)>,
    /// Nodes some of whose pods could not be marked.
    to_retry: HashSet<String>,
    zones: Zones,
}

/// What a look at one node has found.
struct Seen {
    /// As it is now, after what was written.
    node: Arc<Node>,
    health: Health,
    /// It was ready before.
    was_ready: bool,
    failed: bool,
}

impl Monitor {
    async fn look(&mut self) {
        let nodes = self.lifecycle.nodes.all();
        self.forget(&nodes);
        let seen: Vec<Seen> = {
            let looks = nodes.into_iter().map(|node| self.look_at(node));
            stream::iter(looks).buffer_unordered(WORKERS).collect().await
        };
        let mut counts: BTreeMap<String, Census> = BTreeMap::new();
        for seen in &seen {
            let name = seen.node.metadata.name.clone().unwrap_or_default();
            if self.known.insert(name, (seen.node.clone(), seen.health.clone())).is_none() {
                let what = format!(
                    "event: Registered Node {} in Controller",
                    seen.node.metadata.name.as_deref().unwrap_or_default()
                );
                self.lifecycle.report(&seen.node, "RegisteredNode", &what);
            }
            if seen.failed {
                continue;
            }
            if !seen.node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(NOT_COUNTED)) {
                let census = counts.entry(zone(&seen.node)).or_default();
                match ready(&seen.node).is_some_and(|ready| ready.status == "True") {
                    true => census.ready += 1,
                    false => census.not_ready += 1,
                }
            }
        }
        for seen in seen.iter().filter(|seen| !seen.failed) {
            self.follow_up(seen).await;
        }
        self.turn(&counts, &seen).await;
    }

    fn forget(&mut self, nodes: &[Arc<Node>]) {
        let names: HashSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let lifecycle = &self.lifecycle;
        self.known.retain(|name, (node, _)| {
            let kept = names.contains(name.as_str());
            if !kept {
                let what = format!("event: Removing Node {name} from Controller");
                lifecycle.report(node, "RemovingNode", &what);
            }
            kept
        });
        self.to_retry.retain(|name| names.contains(name.as_str()));
    }

    /// Looks at one node, and says so when it is silent.
    async fn look_at(&self, node: Arc<Node>) -> Seen {
        let name = node.metadata.name.clone().unwrap_or_default();
        let (now, time) = (Instant::now(), self.lifecycle.clock.now());
        let lease = self.lifecycle.leases.get(&Key::namespaced(LEASES, name.clone()));
        let before = self.known.get(&name).map(|(_, health)| health);
        let health = Health::look(before, &node, lease.as_deref(), now, time);
        let was_ready = ready(&node).is_some_and(|ready| ready.status == "True");
        let grace = match ready(&node) {
            Some(_) => self.timing.monitor_grace,
            None => self.timing.startup_grace,
        };
        let mut seen = Seen { node, health, was_ready, failed: false };
        if seen.health.is_silent(grace, now) {
            match self.lifecycle.tell_silent(&seen.node, &seen.health).await {
                Ok(Some(written)) => seen.node = Arc::new(written),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(node = name, %error, "a silent node could not be marked");
                    seen.failed = true;
                }
            }
        }
        seen
    }

    /// Taints, and pods that are no longer ready.
    async fn follow_up(&mut self, seen: &Seen) {
        let name = seen.node.metadata.name.as_deref().unwrap_or_default();
        let Some(current) = ready(&seen.node) else { return };
        self.mark_for_tainting(&seen.node).await;
        let lost = current.status != "True" && seen.was_ready;
        if lost {
            self.lifecycle.report(&seen.node, "NodeNotReady", "status is now: NodeNotReady");
        }
        let again = self.to_retry.contains(name) && current.status != "True";
        if (lost || again) && self.lifecycle.mark_pods_not_ready(name).await.is_err() {
            self.to_retry.insert(name.to_owned());
            return;
        }
        self.to_retry.remove(name);
    }

    async fn mark_for_tainting(&mut self, node: &Arc<Node>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let tainter = self.zones.tainter(node, &self.timing, Instant::now());
        let wanted = taints::driving(node);
        let has = taints::no_execute(node).next().is_some();
        match wanted {
            // The first time is rationed; after that, the taint only follows the condition.
            Some(_) if !has => return tainter.add(name),
            _ => tainter.remove(name),
        }
        if let Err(error) = self.lifecycle.set_no_execute(node, wanted).await {
            tracing::debug!(node = name, %error, "taints not written");
        }
    }

    async fn turn(&mut self, counts: &BTreeMap<String, Census>, seen: &[Seen]) {
        let now = Instant::now();
        match self.zones.turn(counts, &self.timing, now) {
            Turn::None => {}
            Turn::Silence => {
                tracing::warn!("no node is ready: no pods are driven away");
                for seen in seen {
                    self.zones
                        .tainter(&seen.node, &self.timing, now)
                        .remove(seen.node.metadata.name.as_deref().unwrap_or_default());
                    if let Err(error) = self.lifecycle.set_no_execute(&seen.node, None).await {
                        tracing::debug!(%error, "taints not written");
                    }
                }
            }
            Turn::Hearing => self.known.values_mut().for_each(|(_, health)| health.heard = now),
        }
    }

    /// Taints the nodes whose turn it is.
    async fn taint(&mut self) {
        let now = Instant::now();
        let mut failed = Vec::new();
        for tainter in self.zones.tainters() {
            while let Some(name) = tainter.take(now) {
                let shown = self.lifecycle.nodes.get(&Key::cluster(name.clone()));
                // What was written last may not show yet, and a turn is not to be wasted.
                let written = self.known.get(&name).map(|(node, _)| node.clone());
                let newest = |node: &Arc<Node>| revision(node);
                let Some(shown) = shown else { continue };
                let node = written.into_iter().chain([shown.clone()]).max_by_key(newest).unwrap_or(shown);
                let Some(wanted) = taints::driving(&node) else { continue };
                if let Err(error) = self.lifecycle.set_no_execute(&node, Some(wanted)).await {
                    tracing::debug!(node = name, %error, "taint not written");
                    failed.push(node);
                }
            }
        }
        for node in failed {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            self.zones.tainter(&node, &self.timing, now).add(name);
        }
    }
}

fn revision(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl NodeLifecycle {
    /// Writes that a silent node's state is unknown. `None`: it is said already.
    async fn tell_silent(&self, node: &Node, health: &Health) -> Result<Option<Node>, Error> {
        let conditions = unknown(node, self.clock.now());
        // Only the first of them is looked at, as upstream does.
        if !conditions.iter().any(|condition| condition.type_ == "Ready") {
            return Ok(None);
        }
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let leases = Api::<Lease>::namespaced(self.client.clone(), LEASES);
        let live = absent(leases.get_metadata(name).await)?;
        let revision = live.and_then(|lease| lease.metadata.resource_version);
        if revision.is_some() && revision != health.lease_revision {
            return Err(Error::Stale(format!("the lease of {name}")));
        }
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        }));
        absent(self.api().patch_status(name, &PatchParams::default(), &patch).await)
    }

    /// Gives `node` the taint that drives pods away, `key`, or none.
    async fn set_no_execute(&self, node: &Arc<Node>, key: Option<&str>) -> Result<(), Error> {
        let Some(wanted) = taints::with_no_execute(node, key, self.clock.now()) else { return Ok(()) };
        match taints::write(&self.api(), node, &wanted).await {
            Err(error) if error.is_conflict() => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let Some(live) = absent(self.api().get(name).await)? else { return Ok(()) };
                match taints::with_no_execute(&live, key, self.clock.now()) {
                    Some(wanted) => taints::write(&self.api(), &live, &wanted).await,
                    None => Ok(()),
                }
            }
            other => other,
        }
    }
}
