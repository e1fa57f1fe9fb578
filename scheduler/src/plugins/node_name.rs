//! A pod that names its node goes there.

use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        happening == Happening::NodeAdded
    }

    fn filter_reads(&self, _: &CycleState, pod: &PodInfo) -> Reads {
        if pod.node().is_some() { Reads::Cluster } else { Reads::Nothing }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        match pod.node() {
            Some(wanted) if wanted != node.name() => {
                Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
            }
            _ => Ok(()),
        }
    }
}
