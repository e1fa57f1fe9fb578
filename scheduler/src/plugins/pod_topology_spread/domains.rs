//! The pods that are spread, counted by domain: those on nodes that count.

use std::sync::Arc;

use coracle_controllers::node_selector::Selection;

use super::{
    super::{
        taint_toleration::keeps_away,
        tally::{ABSENT, View},
    },
    constraint::Constraint,
};
use crate::{cache::NodeInfo, pod::PodInfo};

/// What one constraint sees of the cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The domain of each slot.
    pub(super) of: Arc<Vec<u32>>,
    /// How many nodes that count are in each domain.
    pub(super) nodes: Arc<Vec<u32>>,
    /// How many of the pods that are spread are in each domain.
    pub(super) pods: Arc<Vec<i64>>,
}

impl Seen {
    /// The domain of `slot`; none when its node lacks the label.
    pub(super) fn domain(&self, slot: usize) -> Option<usize> {
        self.of.get(slot).filter(|domain| **domain != ABSENT).map(|domain| *domain as usize)
    }

    /// How many pods are in a domain.
    pub(super) fn count(&self, domain: usize) -> i64 {
        self.pods.get(domain).copied().unwrap_or(0)
    }

    /// The counts of the domains that have nodes that count.
    pub(super) fn counts(&self) -> impl Iterator<Item = i64> {
        self.nodes.iter().enumerate().filter(|(_, nodes)| **nodes > 0).map(|(domain, _)| self.count(domain))
    }
}

/// Which nodes count for a pod, besides those that have the labels.
pub(super) struct Counting {
    selection: Selection,
    /// Stands for the selection.
    name: String,
}

impl Counting {
    /// The nodes that count for `pod`.
    pub(super) fn of(pod: &PodInfo) -> Self {
        let Some(spec) = pod.spec() else {
            return Self { selection: Selection::default(), name: String::new() };
        };
        let selection = Selection::required(spec);
        let name = if selection.is_any() {
            String::new()
        } else {
            let required = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
            let required =
                required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
            serde_json::to_string(&(&spec.node_selector, required)).unwrap_or_default()
        };
        Self { selection, name }
    }

    /// What each constraint sees. With `all`, only nodes that have the labels
    /// of all constraints count.
    pub(super) fn see(
        &self,
        view: &mut View<'_>,
        constraints: &[Constraint],
        pod: &PodInfo,
        all: bool,
    ) -> Vec<Seen> {
        let labelled: Vec<_> = constraints.iter().map(|constraint| view.nodes_by(&constraint.key)).collect();
        let count = view.count();
        let everywhere = |nodes: &Arc<Vec<u32>>| nodes.iter().map(|n| *n as usize).sum::<usize>() == count;
        let alike = !all || constraints.len() == 1 || labelled.iter().all(|(_, nodes)| everywhere(nodes));
        let any =
            constraints.iter().all(|c| (!c.honor_affinity || self.selection.is_any()) && !c.honor_taints);
        let seen = labelled.into_iter().zip(constraints).map(|((of, nodes), constraint)| {
            let pods = constraint.sort.as_ref().map(|sort| view.pods_by(sort, &constraint.key).counts);
            Seen { of, nodes, pods: pods.unwrap_or_default() }
        });
        let seen: Vec<Seen> = seen.collect();
        if alike && any { seen } else { self.see_some(view, constraints, pod, all, seen) }
    }

    /// The same, looking at each node.
    fn see_some(
        &self,
        view: &mut View<'_>,
        constraints: &[Constraint],
        pod: &PodInfo,
        all: bool,
        labelled: Vec<Seen>,
    ) -> Vec<Seen> {
        let selected =
            (!self.selection.is_any()).then(|| view.selected(&self.name, || self.selection.clone()));
        let on: Vec<_> = constraints
            .iter()
            .map(|constraint| constraint.sort.as_ref().map(|sort| view.pods_on(sort)).unwrap_or_default())
            .collect();
        let mut counted: Vec<(Vec<u32>, Vec<i64>)> =
            labelled.iter().map(|seen| (vec![0; seen.nodes.len()], vec![0; seen.nodes.len()])).collect();
        for (slot, info) in view.nodes() {
            if all && labelled.iter().any(|seen| seen.domain(slot).is_none()) {
                continue;
            }
            let allowed = selected.as_ref().is_none_or(|by| by.get(slot).copied().unwrap_or(false));
            let mut tolerated = Tolerated { pod, info, known: None };
            let each = constraints.iter().zip(&labelled).zip(&on).zip(&mut counted);
            for (((constraint, seen), on), (nodes, pods)) in each {
                if constraint.honor_affinity && !allowed || constraint.honor_taints && !tolerated.get() {
                    continue;
                }
                if let Some(domain) = seen.domain(slot)
                    && let (Some(nodes), Some(pods)) = (nodes.get_mut(domain), pods.get_mut(domain))
                {
                    *nodes += 1;
                    *pods += i64::from(on.get(slot).copied().unwrap_or(0));
                }
            }
        }
        labelled
            .into_iter()
            .zip(counted)
            .map(|(seen, (nodes, pods))| Seen { of: seen.of, nodes: Arc::new(nodes), pods: Arc::new(pods) })
            .collect()
    }

    /// True when the pods on `info`'s node count for `constraint`.
    pub(super) fn holds(&self, constraint: &Constraint, pod: &PodInfo, info: &NodeInfo) -> bool {
        let allowed =
            !constraint.honor_affinity || info.node.as_ref().is_some_and(|node| self.selection.matches(node));
        allowed && (!constraint.honor_taints || keeps_away(pod, info).is_none())
    }
}

/// Whether the pod tolerates a node's taints, found out at most once.
struct Tolerated<'a> {
    pod: &'a PodInfo,
    info: &'a NodeInfo,
    known: Option<bool>,
}

impl Tolerated<'_> {
    fn get(&mut self) -> bool {
        *self.known.get_or_insert_with(|| keeps_away(self.pod, self.info).is_none())
    }
}
