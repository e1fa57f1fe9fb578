//! Claims that are bound when a node is chosen, and volumes that are only on
//! some nodes.
//!
//! `plan.rs` finds what would be bound on a node, `bind.rs` binds it before
//! the pod is. What is meant for one pod is not given to the next one while
//! the API does not show it yet.

mod bind;
mod plan;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use coracle_controllers::{
    framework::{Error, Key},
    storage::{BIND_COMPLETED, annotation, claim_phase, class_of_claim, volume_name, waits_for_consumer},
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{super::node_resources::Point, claim, claim_name, foreign, not_found, volumes};
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};
use plan::{Claims, Plan};

/// Upstream's `VolumeBindingArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Args {
    /// How long a pod waits for its volumes.
    pub bind_timeout_seconds: u64,
    /// How good it is to use so much of what there is.
    pub shape: Vec<Point>,
}

impl Default for Args {
    fn default() -> Self {
        let shape = [(0, 10), (100, 0)].map(|(utilization, score)| Point { utilization, score });
        Self { bind_timeout_seconds: 600, shape: shape.into() }
    }
}

pub(in super::super) struct VolumeBinding {
    args: Args,
    objects: Objects,
    promised: Mutex<Promised>,
}

/// What the API does not show yet.
#[derive(Default)]
struct Promised {
    /// By the pod's uid.
    plans: HashMap<String, Plan>,
    /// The pod of the last cycle, and what was found for it.
    last: Option<(String, Arc<Plans>)>,
}

/// The plans for the nodes that were looked at in a cycle.
#[derive(Default)]
struct Plans(Mutex<HashMap<String, Plan>>);

impl VolumeBinding {
    pub(in super::super) fn new(args: Args, objects: Objects) -> Self {
        Self { args, objects, promised: Mutex::default() }
    }

    /// The claims of the pod, sorted by how far they are; none when it has none.
    fn claims(&self, pod: &PodInfo) -> Result<Option<Claims>, Rejection> {
        let mut claims = Claims::default();
        let mut any = false;
        for volume in volumes(pod) {
            let Some((name, ephemeral)) = claim_name(pod, volume) else { continue };
            any = true;
            let found = claim(pod, &name, &self.objects).ok_or_else(|| match ephemeral {
                true => Rejection::unresolvable(format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                )),
                false => not_found("persistentvolumeclaim", &name),
            })?;
            if let Some(reason) = unfit(pod, &found, ephemeral) {
                return Err(Rejection::unresolvable(reason));
            }
            if volume_name(&found).is_some() && annotation(&found.metadata, BIND_COMPLETED).is_some() {
                claims.bound.push(found);
            } else if volume_name(&found).is_none() && self.waits(&found)? {
                claims.waiting.push(found);
            } else {
                return Err(Rejection::unresolvable("pod has unbound immediate PersistentVolumeClaims"));
            }
        }
        Ok(any.then_some(claims))
    }

    fn waits(&self, claim: &PersistentVolumeClaim) -> Result<bool, Rejection> {
        let name = class_of_claim(claim);
        let Some(class) = self.objects.classes.get(&Key::cluster(name)) else { return Ok(false) };
        if class.volume_binding_mode.is_none() {
            return Err(Rejection::unresolvable(format!(
                "VolumeBindingMode not set for StorageClass {name:?}"
            )));
        }
        Ok(waits_for_consumer(&class))
    }

    /// The volumes that are meant for claims of other pods.
    fn taken(&self, pod: &PodInfo) -> BTreeSet<String> {
        let promised = self.promised.lock();
        let others = promised.plans.iter().filter(|(uid, _)| **uid != pod.uid);
        others.flat_map(|(_, plan)| plan.volumes()).collect()
    }
}

/// Why a claim cannot be used at all.
fn unfit(pod: &PodInfo, claim: &PersistentVolumeClaim, ephemeral: bool) -> Option<String> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    if claim_phase(claim) == "Lost" {
        let volume = volume_name(claim).unwrap_or_default();
        return Some(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    ephemeral.then(|| foreign(&pod.pod, claim)).flatten()
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeLabels | Happening::Storage)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        if let Some(mut claims) = self.claims(pod)? {
            claims.prepare(&self.objects, self.taken(pod));
            let plans = Arc::<Plans>::default();
            self.promised.lock().last = Some((pod.uid.clone(), plans.clone()));
            state.put(claims);
            state.put(plans);
        }
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Claims>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let (Some(claims), Some(plans)) = (state.get::<Claims>(), state.get::<Arc<Plans>>()) else {
            return Ok(());
        };
        let plan = claims.plan(node, &self.objects)?;
        plans.0.lock().insert(node.name().to_owned(), plan);
        Ok(())
    }

    fn score_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        self.filter_reads(state, pod)
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Option<i64> {
        let Some(plans) = state.get::<Arc<Plans>>() else { return Some(0) };
        Some(plans.0.lock().get(node.name()).map_or(0, |plan| plan.score(&self.args.shape)))
    }

    fn reserve(&self, pod: &PodInfo, node: &str) -> Result<(), Rejection> {
        let mut promised = self.promised.lock();
        let last = promised.last.take().filter(|(uid, _)| *uid == pod.uid);
        let plan = last.and_then(|(_, plans)| plans.0.lock().remove(node));
        if let Some(plan) = plan.filter(|plan| !plan.is_empty()) {
            promised.plans.insert(pod.uid.clone(), plan);
        }
        Ok(())
    }

    fn unreserve(&self, pod: &PodInfo, _: &str) {
        self.promised.lock().plans.remove(&pod.uid);
    }

    fn pre_bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let plan = self.promised.lock().plans.get(&pod.uid).cloned()?;
        let limit = Duration::from_secs(self.args.bind_timeout_seconds);
        let bound = async move {
            bind::bind(client, &self.objects, &plan, node, limit).await?;
            self.promised.lock().plans.remove(&pod.uid);
            Ok(())
        };
        Some(bound.boxed())
    }
}
