//! Nodes that have a pod's images already are better: the larger these are
//! and the more nodes have them, the more.

use std::{collections::BTreeSet, sync::Arc};

use super::tally::Tally;
use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::{BEST, CycleState, Plugin, Reads, Rejection},
    pod::PodInfo,
};

const MIB: i64 = 1024 * 1024;
/// Less than this does not matter.
const LEAST: i64 = 23 * MIB;
/// More than this, for each container, does not either.
const MOST: i64 = 1000 * MIB;

pub(super) struct ImageLocality(pub(super) Arc<Tally>);

/// What a cycle knows of a pod's images.
struct Images {
    /// The images, normalized, with how many nodes have each.
    wanted: Vec<(String, usize)>,
    /// What the score is a share of.
    count: i64,
    nodes: usize,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let names = images(pod);
        let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let spread = self.0.at(nodes).images();
        let on = |name: String| spread.get(&name).map(|on| (name, *on));
        state.put(Images {
            wanted: names.into_iter().filter_map(on).collect(),
            count,
            nodes: nodes.nodes().len(),
        });
        Ok(None)
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn score_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        // Without any of the images a node is worth nothing, as all the others.
        let none = state.get::<Images>().is_none_or(|images| images.wanted.is_empty());
        if none { Reads::Nothing } else { Reads::Cluster }
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Option<i64> {
        let images = state.get::<Images>()?;
        let sizes = images.wanted.iter().filter_map(|(name, on)| {
            let size = size(node, name)?;
            let share = *on as f64 / images.nodes as f64;
            Some((size as f64 * share) as i64)
        });
        let most = MOST * images.count;
        let sum = sizes.fold(0, i64::saturating_add);
        // Not `clamp`: a pod without containers has a lower most than least.
        let sum = if sum < LEAST { LEAST } else { sum.min(most) };
        BEST.checked_mul(sum - LEAST)?.checked_div(most - LEAST)
    }
}

fn size(info: &NodeInfo, name: &str) -> Option<i64> {
    let images = info.node.as_ref()?.status.as_ref()?.images.as_ref()?;
    let image = images.iter().find(|image| image.names.iter().flatten().any(|n| n == name))?;
    Some(image.size_bytes.unwrap_or(0))
}

/// The images of all containers and image volumes, each as often as it is used.
fn images(pod: &PodInfo) -> Vec<String> {
    let Some(spec) = pod.spec() else { return Vec::new() };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.map(|image| image.reference.as_deref().unwrap_or_default());
    of_containers.chain(of_volumes).map(normalized).collect()
}

/// With a tag.
fn normalized(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}
