//! A pod that names its node goes there.

use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Happening, Plugin, Rejection},
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

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        match pod.node() {
            Some(wanted) if wanted != node.name() => {
                Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
            }
            _ => Ok(()),
        }
    }
}
