//! Nodes whose resources are used alike are better.

use serde::Deserialize;

use super::{Weighed, cpu_and_memory, share};
use crate::{
    cache::NodeInfo,
    plugin::{BEST, CycleState, Plugin, Reads},
    pod::PodInfo,
};

/// Upstream's `NodeResourcesBalancedAllocationArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BalancedAllocationArgs {
    /// What is compared; weights do not matter.
    pub resources: Vec<Weighed>,
}

impl Default for BalancedAllocationArgs {
    fn default() -> Self {
        Self { resources: cpu_and_memory() }
    }
}

pub(in super::super) struct BalancedAllocation(BalancedAllocationArgs);

impl BalancedAllocation {
    pub(in super::super) fn new(args: BalancedAllocationArgs) -> Self {
        Self(args)
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Node
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        // Pods that ask for nothing would all go to the same node.
        let names = || self.0.resources.iter().map(|resource| resource.name.as_str());
        if names().all(|name| pod.requests.amount(name) == 0) {
            return None;
        }
        let shares = || names().filter_map(|name| share(name, &node.requested, &pod.requests, node));
        let part = |used: i64, capacity: i64| (used as f64 / capacity as f64).min(1.0);
        let with: Vec<f64> = shares().map(|share| part(share.after, share.capacity)).collect();
        let without: Vec<f64> = shares().map(|share| part(share.before, share.capacity)).collect();
        Some(BEST / 2 + (BEST / 2 + alike(&with) - alike(&without)) / 2)
    }
}

/// How alike the parts are: from half of [`BEST`] to all of it.
fn alike(parts: &[f64]) -> i64 {
    let deviation = match parts {
        [] | [_] => 0.0,
        [one, other] => ((one - other) / 2.0).abs(),
        parts => {
            let mean = parts.iter().sum::<f64>() / parts.len() as f64;
            (parts.iter().map(|part| (part - mean) * (part - mean)).sum::<f64>() / parts.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * BEST as f64) as i64
}
