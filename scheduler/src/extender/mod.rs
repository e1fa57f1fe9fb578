//! Extenders: servers that have a say in where pods go.
//!
//! Start at [`Extender`]. What is asked and answered is in `wire`; `line`
//! sends it, each request bounded by the extender's time.

mod configuration;
mod line;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Container;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use configuration::validate;
pub use configuration::{Managed, Settings, Tls};

use crate::{cache::NodeInfo, plugin::Rejection, pod::PodInfo};
use line::Line;
use wire::{BindingResult, FilterResult, HostPriority, PreemptionResult, normalized};

/// The name under which extenders reject.
pub(crate) const NAME: &str = "Extender";
/// What a point of an extender's score counts in scores of nodes.
const POINT: i64 = 10;

/// A server that is asked.
pub struct Extender {
    settings: Settings,
    managed: BTreeSet<String>,
    line: Line,
}

/// Which pods go from a node for another, and how many budgets that violates.
pub(crate) type Victims = BTreeMap<String, (Vec<Arc<PodInfo>>, usize)>;

impl Extender {
    /// The extenders of a configuration; those that may fail come last.
    /// # Errors
    /// One cannot be reached as it is configured.
    pub(crate) fn all(settings: &[Settings]) -> Result<Vec<Self>, String> {
        let mut all: Vec<Settings> = settings.to_vec();
        all.sort_by_key(|settings| settings.ignorable);
        all.into_iter().map(Self::new).collect()
    }

    fn new(settings: Settings) -> Result<Self, String> {
        let managed = settings.managed_resources.iter().map(|managed| managed.name.clone()).collect();
        let line = Line::to(&settings)?;
        Ok(Self { settings, managed, line })
    }

    /// Whether the pod concerns it.
    fn is_interested(&self, pod: &PodInfo) -> bool {
        let Some(spec) = pod.spec() else { return self.managed.is_empty() };
        let asks = |container: &Container| {
            let resources = container.resources.as_ref();
            let requests = resources.and_then(|it| it.requests.as_ref()).into_iter().flatten();
            let limits = resources.and_then(|it| it.limits.as_ref()).into_iter().flatten();
            requests.chain(limits).any(|(name, _)| self.managed.contains(name))
        };
        self.managed.is_empty()
            || spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks)
    }

    /// The nodes as it is told of them.
    fn arguments<'n>(&self, pod: &PodInfo, nodes: impl Iterator<Item = &'n NodeInfo>) -> Value {
        if self.settings.node_cache_capable {
            let names: Vec<&str> = nodes.map(NodeInfo::name).collect();
            return json!({"Pod": *pod.pod, "Nodes": null, "NodeNames": names});
        }
        let items: Vec<_> = nodes.filter_map(|info| info.node.as_deref()).collect();
        json!({"Pod": *pod.pod, "Nodes": {"metadata": {}, "items": items}, "NodeNames": null})
    }

    fn ask<T: DeserializeOwned>(&self, verb: &str, arguments: &Value) -> Result<T, String> {
        let answer = self.line.ask(verb, arguments)?;
        serde_json::from_value(normalized(answer)).map_err(|error| error.to_string())
    }

    fn filter<N: Deref<Target = NodeInfo>>(
        &self,
        pod: &PodInfo,
        nodes: &[N],
    ) -> Result<FilterResult, String> {
        let arguments = self.arguments(pod, nodes.iter().map(Deref::deref));
        let result: FilterResult = self.ask(&self.settings.filter_verb, &arguments)?;
        match result.error.is_empty() {
            true => Ok(result),
            false => Err(result.error),
        }
    }

    /// Binds the pod; none when it does not bind such pods.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &str) -> Option<Result<(), String>> {
        if self.settings.bind_verb.is_empty() || !self.is_interested(pod) {
            return None;
        }
        let key = pod.key();
        let arguments =
            json!({"PodName": key.name, "PodNamespace": key.namespace, "PodUID": pod.uid, "Node": node});
        let bound = self.line.ask_later(&self.settings.bind_verb, &arguments).await.and_then(|answer| {
            let result: BindingResult =
                serde_json::from_value(normalized(answer)).map_err(|error| error.to_string())?;
            if result.error.is_empty() { Ok(()) } else { Err(result.error) }
        });
        match bound {
            Err(error) if self.settings.ignorable => {
                tracing::info!(extender = self.settings.url_prefix, error, "skipped in binding");
                None
            }
            bound => Some(bound),
        }
    }

    fn preempt(&self, pod: &PodInfo, victims: &Victims) -> Result<PreemptionResult, String> {
        let arguments = if self.settings.node_cache_capable {
            let of = |(pods, violations): &(Vec<Arc<PodInfo>>, usize)| {
                let pods: Vec<Value> = pods.iter().map(|pod| json!({"UID": pod.uid})).collect();
                json!({"Pods": pods, "NumPDBViolations": violations})
            };
            let each: BTreeMap<&String, Value> = victims.iter().map(|(node, it)| (node, of(it))).collect();
            json!({"Pod": *pod.pod, "NodeNameToVictims": null, "NodeNameToMetaVictims": each})
        } else {
            let of = |(pods, violations): &(Vec<Arc<PodInfo>>, usize)| {
                let pods: Vec<_> = pods.iter().map(|pod| &*pod.pod).collect();
                json!({"Pods": pods, "NumPDBViolations": violations})
            };
            let each: BTreeMap<&String, Value> = victims.iter().map(|(node, it)| (node, of(it))).collect();
            json!({"Pod": *pod.pod, "NodeNameToVictims": each, "NodeNameToMetaVictims": null})
        };
        self.ask(&self.settings.preempt_verb, &arguments)
    }
}

/// Of `nodes` those that all extenders let the pod have; `reject` is told why
/// of the others.
/// # Errors
/// One that must be asked does not answer.
pub(crate) fn passed<N: Deref<Target = NodeInfo>>(
    extenders: &[Extender],
    pod: &PodInfo,
    mut nodes: Vec<N>,
    mut reject: impl FnMut(String, Rejection),
) -> Result<Vec<N>, String> {
    for extender in extenders {
        if nodes.is_empty() {
            break;
        }
        let settings = &extender.settings;
        if settings.filter_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let result = match extender.filter(pod, &nodes) {
            Ok(result) => result,
            Err(error) if settings.ignorable => {
                tracing::info!(extender = settings.url_prefix, error, "skipped");
                continue;
            }
            Err(error) => return Err(error),
        };
        for (node, why) in &result.failed_nodes {
            if !result.failed_and_unresolvable_nodes.contains_key(node) {
                reject(node.clone(), Rejection::resolvable(why));
            }
        }
        for (node, why) in &result.failed_and_unresolvable_nodes {
            reject(node.clone(), Rejection::unresolvable(why));
        }
        let left = result.left(settings.node_cache_capable);
        if let Some(strange) = left.iter().find(|name| !nodes.iter().any(|node| node.name() == name.as_str()))
        {
            return Err(format!(
                "extender {:?} claims a filtered node {strange:?} which is not found in the input node list",
                settings.url_prefix
            ));
        }
        nodes.retain(|node| left.contains(node.name()));
    }
    Ok(nodes)
}

/// What extenders give the nodes, added to `totals`. Those that do not answer
/// give nothing.
pub(crate) fn score<N: Deref<Target = NodeInfo>>(
    extenders: &[Extender],
    pod: &PodInfo,
    nodes: &[N],
    totals: &mut [i64],
) {
    for extender in extenders {
        let settings = &extender.settings;
        if settings.prioritize_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let arguments = extender.arguments(pod, nodes.iter().map(Deref::deref));
        let scores: Vec<HostPriority> = match extender.ask(&settings.prioritize_verb, &arguments) {
            Ok(scores) => scores,
            Err(error) => {
                tracing::debug!(extender = settings.url_prefix, error, "no score given");
                continue;
            }
        };
        let scores: BTreeMap<&str, i64> = scores.iter().map(|it| (it.host.as_str(), it.score)).collect();
        for (node, total) in nodes.iter().zip(totals.iter_mut()) {
            let score = scores.get(node.name()).copied().unwrap_or(0);
            *total = total.saturating_add(score.saturating_mul(settings.weight).saturating_mul(POINT));
        }
    }
}

/// What extenders leave of the ways to make room. `on` finds a pod of a node
/// by its uid.
/// # Errors
/// One that must be asked does not answer, or answers what cannot be.
pub(crate) fn preemptible(
    extenders: &[Extender],
    pod: &PodInfo,
    mut victims: Victims,
    on: impl Fn(&str, &str) -> Option<Arc<PodInfo>>,
) -> Result<Victims, String> {
    for extender in extenders {
        let settings = &extender.settings;
        if victims.is_empty() {
            break;
        }
        if settings.preempt_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let left = extender.preempt(pod, &victims).and_then(|result| {
            let mut left = Victims::new();
            for (node, them) in result.node_name_to_meta_victims {
                let mut pods = Vec::new();
                for victim in them.pods {
                    let found = on(&node, &victim.uid).ok_or_else(|| {
                        format!(
                            "extender: {} claims to preempt pod (UID: &{{{}}}) on node: {node}, but the pod is not found on that node",
                            settings.url_prefix, victim.uid
                        )
                    })?;
                    pods.push(found);
                }
                left.insert(node, (pods, them.num_pdb_violations));
            }
            Ok(left)
        });
        let mut left = match left {
            Ok(left) => left,
            Err(error) if settings.ignorable => {
                tracing::info!(extender = settings.url_prefix, error, "skipped in preemption");
                continue;
            }
            Err(error) => return Err(error),
        };
        if settings.ignorable {
            left.retain(|_, (pods, _)| !pods.is_empty());
        } else if let Some((node, _)) = left.iter().find(|(_, (pods, _))| pods.is_empty()) {
            return Err(format!("expected at least one victim pod on node {node:?}"));
        }
        victims = left;
    }
    Ok(victims)
}
