//! Cordoned nodes take only pods that tolerate it.

use k8s_openapi::api::core::v1::{Node, Taint};

use super::taint_toleration::tolerates;
use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeTaints | Happening::PodChanged)
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let _ = pod;
        let cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        event.nodes.1.is_none_or(|after| !cordoned(after) && event.nodes.0.is_none_or(cordoned))
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Node
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
        if spec.and_then(|spec| spec.unschedulable) != Some(true) {
            return Ok(());
        }
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        if tolerates(pod, &cordon) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) were unschedulable"))
    }
}
