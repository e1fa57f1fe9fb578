//! A node's port goes to one pod.

use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::PodRemoved)
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        // A pod that goes helps with the ports that it had.
        let frees =
            |gone: &PodInfo| gone.ports.iter().any(|had| pod.ports.iter().any(|port| port.conflicts(had)));
        event.pods.0.is_none_or(frees)
    }

    fn filter_reads(&self, _: &CycleState, pod: &PodInfo) -> Reads {
        if pod.ports.is_empty() { Reads::Nothing } else { Reads::Node }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        if pod.ports.is_empty() {
            return Ok(());
        }
        let mut taken = node.pods.values().flat_map(|other| &other.ports);
        if taken.any(|port| pod.ports.iter().any(|wanted| wanted.conflicts(port))) {
            return Err(Rejection::resolvable("node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }
}
