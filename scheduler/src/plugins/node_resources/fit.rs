//! A node takes no more than it has.

use serde::Deserialize;

use super::strategy::Strategy;
use crate::{
    cache::NodeInfo,
    objects::Objects,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection},
    plugins::dynamic_resources::extended::{class_of, is_extended},
    pod::PodInfo,
    resources::Resources,
};

/// Upstream's `NodeResourcesFitArgs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeResourcesFitArgs {
    /// Extended resources that others look after.
    pub ignored_resources: Vec<String>,
    /// All extended resources with such a prefix before the slash.
    pub ignored_resource_groups: Vec<String>,
    /// How full a node should be.
    pub scoring_strategy: Strategy,
}

pub(in super::super) struct NodeResourcesFit(NodeResourcesFitArgs, Objects);

impl NodeResourcesFit {
    pub(in super::super) fn new(args: NodeResourcesFitArgs, objects: Objects) -> Self {
        Self(args, objects)
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded
                | Happening::NodeAllocatable
                | Happening::PodRemoved
                | Happening::PodChanged
                | Happening::Devices
        )
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        if event.what == Happening::Devices {
            return pod.requests.scalars.keys().any(|name| is_extended(name));
        }
        let Some(node) = event.nodes.1 else { return true };
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let allocatable = allocatable.map(Resources::parse).unwrap_or_default();
        // Even empty it would not take the pod.
        self.lacking(pod, &NodeInfo { allocatable, ..NodeInfo::default() }).is_empty()
    }

    fn filter_reads(&self, _: &CycleState, pod: &PodInfo) -> Reads {
        // Whether devices stand in for them is not up to the node.
        let extended = pod.requests.scalars.keys().any(|name| is_extended(name));
        if extended { Reads::Cluster } else { Reads::Node }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let lacking = self.lacking(pod, node);
        if lacking.is_empty() {
            return Ok(());
        }
        // Where a single resource exceeds the whole node, no removal helps.
        let resolvable = lacking.iter().all(|(_, resolvable)| *resolvable);
        let reasons = lacking.into_iter().map(|(reason, _)| reason).collect();
        Err(Rejection { reasons, resolvable, failed: false })
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Node
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        Some(self.0.scoring_strategy.score(pod, node))
    }
}

impl NodeResourcesFit {
    /// What the node lacks for the pod, and whether removing pods could help.
    fn lacking(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<(String, bool)> {
        let mut lacking = Vec::new();
        let (asked, has, used) = (&pod.requests, &node.allocatable, &node.requested);
        if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= has.pods {
            lacking.push(("Too many pods".to_owned(), true));
        }
        let mut check = |name: &str, asked: i64, has: i64, used: i64| {
            if asked > 0 && asked > has.saturating_sub(used) {
                lacking.push((format!("Insufficient {name}"), asked <= has));
            }
        };
        check("cpu", asked.milli_cpu, has.milli_cpu, used.milli_cpu);
        check("memory", asked.memory, has.memory, used.memory);
        check("ephemeral-storage", asked.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage);
        for (name, asked) in asked.scalars.iter().filter(|(name, _)| !self.is_ignored(name)) {
            // Where devices stand in for it, another rule looks after it.
            if has.amount(name) == 0 && class_of(&self.1.device_classes, name).is_some() {
                continue;
            }
            check(name, *asked, has.amount(name), used.amount(name));
        }
        lacking
    }

    fn is_ignored(&self, name: &str) -> bool {
        let Some((group, _)) = name.split_once('/') else { return false };
        // Kubernetes' own are not extended.
        group != "kubernetes.io"
            && !group.ends_with(".kubernetes.io")
            && (self.0.ignored_resources.iter().any(|ignored| ignored == name)
                || self.0.ignored_resource_groups.iter().any(|ignored| ignored == group))
    }
}
