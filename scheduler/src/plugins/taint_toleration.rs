//! Nodes keep pods away with taints; pods tolerate them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::{
    cache::NodeInfo,
    plugin::{CycleState, Happening, Plugin, Rejection, stretch},
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

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if taints(node).iter().filter(keeps_away).all(|taint| tolerates(pod, taint)) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) had untolerated taint(s)"))
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
    let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
    spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
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
