//! A node takes no more than it has; emptier nodes are better.

use crate::{
    cache::NodeInfo,
    plugin::{BEST, CycleState, Happening, Plugin, Rejection},
    pod::PodInfo,
};

pub(super) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded | Happening::NodeAllocatable | Happening::PodRemoved | Happening::PodChanged
        )
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let lacking = lacking(pod, node);
        if lacking.is_empty() {
            return Ok(());
        }
        // Where a single resource exceeds the whole node, no removal helps.
        let resolvable = lacking.iter().all(|(_, resolvable)| *resolvable);
        Err(Rejection { reasons: lacking.into_iter().map(|(reason, _)| reason).collect(), resolvable })
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        let free = |wanted: i64, capacity: i64| {
            (capacity > 0).then(|| if wanted > capacity { 0 } else { (capacity - wanted) * BEST / capacity })
        };
        let cpu =
            free(node.scoring.milli_cpu.saturating_add(pod.scoring.milli_cpu), node.allocatable.milli_cpu);
        let memory = free(node.scoring.memory.saturating_add(pod.scoring.memory), node.allocatable.memory);
        let scores: Vec<i64> = [cpu, memory].into_iter().flatten().collect();
        let count = i64::try_from(scores.len()).ok().filter(|count| *count > 0)?;
        Some(scores.iter().sum::<i64>() / count)
    }
}

/// What the node lacks for the pod, and whether removing pods could help.
fn lacking(pod: &PodInfo, node: &NodeInfo) -> Vec<(String, bool)> {
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
    for (name, asked) in &asked.scalars {
        let of = |resources: &crate::resources::Resources| resources.scalars.get(name).copied().unwrap_or(0);
        check(name, *asked, of(has), of(used));
    }
    lacking
}
