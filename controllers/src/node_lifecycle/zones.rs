//! How fast pods may be driven away from nodes, zone by zone. Pure.
//!
//! When most of a zone is silent, it is more likely that we do not hear it
//! than that it is dead; when all zones are, nothing is done.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::Timing;

/// A zone that has at least this many nodes that are not ready may be partly disrupted.
const FEW: usize = 2;

/// How well a zone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Initial,
    Normal,
    Partial,
    Full,
}

/// How many nodes of a zone are ready, and how many are not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) ready: usize,
    pub(super) not_ready: usize,
}

impl Census {
    fn state(self, timing: &Timing) -> State {
        let part = self.not_ready as f64 / (self.ready + self.not_ready).max(1) as f64;
        match self {
            Census { ready: 0, not_ready: 1.. } => State::Full,
            _ if self.not_ready > FEW && part >= timing.unhealthy_zone_threshold => State::Partial,
            _ => State::Normal,
        }
    }
}

/// What a look at all zones has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing that concerns nodes.
    None,
    /// All zones are fully disrupted: their nodes' taints go.
    Silence,
    /// The first node is heard again: what is known of the others is as of now.
    Hearing,
}

/// All zones.
#[derive(Default)]
pub(super) struct Zones(BTreeMap<String, Zone>);

struct Zone {
    state: State,
    tainter: Tainter,
}

impl Zones {
    /// The tainter of the zone of `node`.
    pub(super) fn tainter(&mut self, node: &Node, timing: &Timing, now: Instant) -> &mut Tainter {
        &mut self.zone(zone(node), timing, now).tainter
    }

    pub(super) fn tainters(&mut self) -> impl Iterator<Item = &mut Tainter> {
        self.0.values_mut().map(|zone| &mut zone.tainter)
    }

    fn zone(&mut self, name: String, timing: &Timing, now: Instant) -> &mut Zone {
        self.0.entry(name).or_insert_with(|| Zone {
            state: State::Initial,
            tainter: Tainter::new(timing.eviction_rate, now),
        })
    }

    /// Takes a count of all nodes by zone over.
    pub(super) fn turn(&mut self, counts: &BTreeMap<String, Census>, timing: &Timing, now: Instant) -> Turn {
        for name in counts.keys() {
            self.zone(name.clone(), timing, now);
        }
        // A zone of which no node counts has no state, but perhaps nodes that wait.
        self.0.retain(|name, zone| counts.contains_key(name) || !zone.tainter.waiting.is_empty());
        let all_are = counts.values().all(|count| count.state(timing) == State::Full);
        let mut counted = self.0.iter().filter(|(name, _)| counts.contains_key(*name));
        let all_were = counted.all(|(_, zone)| zone.state == State::Full);
        if all_are && all_were {
            return Turn::None;
        }
        for (name, zone) in &mut self.0 {
            let Some(count) = counts.get(name) else {
                zone.state = State::Initial;
                continue;
            };
            let state = count.state(timing);
            if all_are {
                zone.tainter.set_rate(0.0, now);
            } else if all_were || zone.state != state {
                zone.tainter.set_rate(rate(state, count.ready + count.not_ready, timing), now);
            }
            zone.state = state;
        }
        match (all_are, all_were) {
            (true, _) => Turn::Silence,
            (_, true) => Turn::Hearing,
            _ => Turn::None,
        }
    }
}

fn rate(state: State, nodes: usize, timing: &Timing) -> f64 {
    match state {
        State::Partial if nodes > timing.large_cluster_threshold => timing.secondary_eviction_rate,
        State::Partial => 0.0,
        _ => timing.eviction_rate,
    }
}

/// The name of the zone of `node`; region and zone are told apart by what no
/// label holds.
pub(super) fn zone(node: &Node) -> String {
    let label = |keys: [&str; 2]| {
        let labels = node.metadata.labels.as_ref();
        keys.into_iter().find_map(|key| labels?.get(key)).cloned().unwrap_or_default()
    };
    let region = label(["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"]);
    let zone = label(["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"]);
    if region.is_empty() && zone.is_empty() {
        return String::new();
    }
    format!("{region}:\0:{zone}")
}

/// The nodes of a zone that are to be tainted, and when the next may be.
pub(super) struct Tainter {
    waiting: VecDeque<String>,
    rate: f64,
    next: Option<Instant>,
}

impl Tainter {
    fn new(rate: f64, now: Instant) -> Self {
        Self { waiting: VecDeque::new(), rate, next: (rate > 0.0).then_some(now) }
    }

    pub(super) fn add(&mut self, node: &str) {
        if !self.waiting.iter().any(|waiting| waiting == node) {
            self.waiting.push_back(node.to_owned());
        }
    }

    pub(super) fn remove(&mut self, node: &str) {
        self.waiting.retain(|waiting| waiting != node);
    }

    /// The next node, when one may be tainted now.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        if self.waiting.is_empty() || self.next.is_none_or(|next| next > now) {
            return None;
        }
        self.next = Some(now + self.period());
        self.waiting.pop_front()
    }

    /// When the next node may be tainted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| !self.waiting.is_empty())
    }

    fn period(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(Duration::MAX / 4)
    }

    fn set_rate(&mut self, rate: f64, now: Instant) {
        if self.rate == rate {
            return;
        }
        let free = self.next.is_some_and(|next| next <= now);
        self.rate = rate;
        // Who had to wait under the old rate has nothing saved for the new one.
        let from = if free { Some(now) } else { now.checked_add(self.period()) };
        self.next = from.filter(|_| rate > 0.0);
    }
}
