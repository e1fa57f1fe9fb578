//! Nodes whose CPU and memory are used alike are better.

use crate::{
    cache::NodeInfo,
    plugin::{BEST, CycleState, Plugin},
    pod::PodInfo,
    resources::Resources,
};

pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        // Pods that ask for nothing would all go to the same node.
        if pod.requests.milli_cpu == 0 && pod.requests.memory == 0 {
            return None;
        }
        let mut with = node.requested.clone();
        with.add(&pod.requests);
        let gain = balance(&with, &node.allocatable) - balance(&node.requested, &node.allocatable);
        Some(BEST / 2 + (BEST / 2 + gain) / 2)
    }
}

/// How alike the shares in use are: from half of [`BEST`] to all of it.
fn balance(used: &Resources, has: &Resources) -> i64 {
    let share = |used: i64, has: i64| (has != 0).then(|| (used as f64 / has as f64).min(1.0));
    let deviation = match (share(used.milli_cpu, has.milli_cpu), share(used.memory, has.memory)) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * BEST as f64) as i64
}
