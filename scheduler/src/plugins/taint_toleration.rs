//! Nodes keep pods away with taints; pods tolerate them.

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Event, Happening, Plugin, Reads, Rejection, stretch},
    pod::PodInfo,
};

pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeTaints | Happening::PodChanged)
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let kept = |node: &Node| kept_away(pod, node_taints(Some(node))).is_some();
        !event.nodes.1.is_some_and(kept) && event.nodes.0.is_none_or(kept)
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Node
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        match keeps_away(pod, node) {
            None => Ok(()),
            Some(_) => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Node
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        let disliked = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint);
        i64::try_from(taints(node).iter().filter(disliked).count()).ok()
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }
}

fn taints(node: &NodeInfo) -> &[Taint] {
    node_taints(node.node.as_deref())
}

fn node_taints(node: Option<&Node>) -> &[Taint] {
    let spec = node.and_then(|node| node.spec.as_ref());
    spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// The taint that keeps the pod away from the node.
pub(super) fn keeps_away<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a Taint> {
    kept_away(pod, taints(node))
}

fn kept_away<'a>(pod: &PodInfo, taints: &'a [Taint]) -> Option<&'a Taint> {
    let keeps = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    taints.iter().filter(keeps).find(|taint| !tolerates(pod, taint))
}

/// True when the pod tolerates `taint`.
pub(super) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    let tolerations = pod.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    tolerations.iter().any(|toleration| matches(toleration, taint))
}

fn matches(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        "Exists" => true,
        _ => false,
    }
}
