//! What our scheduler says of the same pod and the same objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_scheduler::cache::Cache;
use coracle_scheduler::plugins::default_plugins;
use coracle_scheduler::{Objects, PodInfo, explain};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::Failure;
use crate::compare::{Chosen, Refused};
use crate::extender::REFUSED;

/// What becomes of a pod.
pub struct Decision {
    /// When every node is refused it.
    pub refused: Refused,
    /// When it is let go.
    pub chosen: Chosen,
}

/// Decides about `pod` in the cluster as it is now.
pub async fn decide(client: &Client, pod: &Pod) -> Result<Decision, Failure> {
    let objects = Objects::list(client).await?;
    let mut cache = Cache::default();
    for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items {
        cache.set_node(Arc::new(node));
    }
    for other in Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items {
        let info = PodInfo::new(Arc::new(other));
        if let Some(node) = info.node().map(str::to_owned) {
            cache.set_pod(Arc::new(info), &node);
        }
    }
    let pod = PodInfo::new(Arc::new(pod.clone()));
    let explanation = explain(&default_plugins(&objects), &cache.snapshot(), &pod);
    let scores: BTreeMap<String, BTreeMap<String, i64>> = explanation
        .scores
        .iter()
        .map(|(node, rules)| {
            (node.clone(), rules.iter().map(|(rule, score)| ((*rule).to_owned(), *score)).collect())
        })
        .collect();
    let total: BTreeMap<String, i64> =
        scores.iter().map(|(node, rules)| (node.clone(), rules.values().sum())).collect();
    let best = total.values().max();
    let nodes =
        total.iter().filter(|(_, score)| Some(*score) == best).map(|(node, _)| node.clone()).collect();
    let refused = Refused { message: explanation.message(REFUSED), found: scores.keys().cloned().collect() };
    Ok(Decision { refused, chosen: Chosen { scores, total, nodes } })
}
