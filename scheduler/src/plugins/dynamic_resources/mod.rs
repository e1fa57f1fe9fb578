//! Claims of devices: a pod goes where its claims can be allocated, and they
//! are allocated and reserved for it before it is bound.
//!
//! `cycle` looks at the claims of a pod once a cycle, and with the `allocator`
//! at each node. What is found for the node that is chosen stands in the
//! `ledger` until it is written (`bind`) and seen. `extended` makes claims for
//! extended resources that are devices.

mod allocator;
mod bind;
mod capacity;
mod cycle;
mod expression;
pub(crate) mod extended;
mod ledger;
pub(crate) mod pools;
mod selector;
#[cfg(test)]
mod tests;
pub(crate) mod uses;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use coracle_controllers::{
    devices::{is_allocated, is_reserved_for, results},
    framework::{Error, Recorder, Severity},
};
use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de};

pub(crate) use bind::give_back;
pub(crate) use ledger::Ledger;

use crate::{
    cache::{NodeInfo, Snapshot},
    cycle::Search,
    objects::Objects,
    plugin::{CycleState, Event, Happening, Nomination, Plugin, Reads, Rejection, Room, stretch},
    pod::PodInfo,
    report::reference,
};
use allocator::Inventory;
use bind::Reserved;
use cycle::{Cycle, claims_of};
use selector::Environment;
use uses::Uses;

/// Upstream's `DynamicResourcesArgs`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Args {
    /// How long may be looked for devices on a node; zero is for ever.
    pub filter_timeout: Span,
    /// How long devices may take to get ready.
    pub binding_timeout: Span,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            filter_timeout: Span(Duration::from_secs(10)),
            binding_timeout: Span(Duration::from_secs(600)),
        }
    }
}

impl Args {
    /// The same, when it can be.
    /// # Errors
    /// It cannot: upstream's text.
    pub(super) fn checked(self) -> Result<Self, String> {
        if self.binding_timeout.0 < Duration::from_secs(1) {
            let given = self.binding_timeout.0;
            return Err(format!("bindingTimeout: Invalid value: {given:?}: must be at least 1 second"));
        }
        Ok(self)
    }
}

/// A time as Go writes it: `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = coracle_api::stamp::parse_duration(&text).map_err(de::Error::custom)?;
        let nanos = u64::try_from(nanos).map_err(|_| de::Error::custom("must be zero or positive"))?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

pub(super) struct DynamicResources {
    args: Args,
    objects: Objects,
    environment: Arc<Environment>,
    promised: Mutex<Promised>,
    events: OnceLock<Recorder>,
}

/// What the API does not show yet.
#[derive(Default)]
struct Promised {
    /// By the pod's uid.
    reserved: HashMap<String, Arc<Reserved>>,
    /// The pod of the last cycle, and what was found for it.
    last: Option<(String, Arc<Cycle>)>,
}

impl DynamicResources {
    pub(super) fn new(args: Args, objects: Objects) -> Self {
        let environment = Arc::<Environment>::default();
        Self { args, objects, environment, promised: Mutex::default(), events: OnceLock::new() }
    }

    fn inventory(&self) -> Inventory {
        let objects = &self.objects;
        let pending = objects.ledger.pending(&objects.resource_claims);
        Inventory {
            slices: objects.resource_slices.clone(),
            classes: objects.device_classes.clone(),
            rules: objects.taint_rules.all(),
            uses: Uses::new(objects.resource_claims.clone(), pending),
            environment: self.environment.clone(),
        }
    }

    fn helped_by_claim(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        let (before, after) = event.claims;
        let Some(after) = after else { return before.is_some_and(is_allocated) };
        let Ok(own) = claims_of(&self.objects, pod) else { return false };
        if before.is_some_and(is_allocated) && !is_allocated(after) {
            return true;
        }
        let uses = own.iter().any(|claim| claim.metadata.uid == after.metadata.uid);
        uses && before.is_none_or(|before| before.status != after.status)
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn report_to(&self, events: &Recorder) {
        let _first = self.events.set(events.clone());
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded
                | Happening::NodeLabels
                | Happening::NodeAllocatable
                | Happening::Claim
                | Happening::Devices
                | Happening::PodChanged
        )
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event.what {
            Happening::Claim => self.helped_by_claim(pod, event),
            Happening::PodChanged => self.pre_enqueue(pod).is_ok(),
            _ => true,
        }
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        claims_of(&self.objects, pod).map(drop).map_err(Rejection::unresolvable)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        if let Some(cycle) = Cycle::begin(&self.objects, pod, || self.inventory())? {
            let cycle = Arc::new(cycle);
            self.promised.lock().last = Some((pod.uid.clone(), cycle.clone()));
            state.put(cycle);
        }
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Arc<Cycle>>().is_some() { Reads::Cluster } else { Reads::Nothing }
    }

    fn score_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        self.filter_reads(state, pod)
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, info: &NodeInfo) -> Result<(), Rejection> {
        let Some(cycle) = state.get::<Arc<Cycle>>() else { return Ok(()) };
        cycle.look(&self.objects, &self.args, pod, info)
    }

    fn post_filter(&self, search: &mut Search<'_>) -> Option<Room> {
        let claim = search.state.get::<Arc<Cycle>>()?.useless(search.pod)?;
        let what = if claim
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(coracle_controllers::devices::EXTENDED))
        {
            "deletion"
        } else {
            "deallocation"
        };
        let message = format!("{what} of ResourceClaim completed");
        Some(Room { claims: vec![claim], ..Room::none(Nomination::Keep, message) })
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Option<i64> {
        Some(state.get::<Arc<Cycle>>()?.score(node.name()))
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, false);
    }

    fn reserve(&self, pod: &PodInfo, node: &str) -> Result<(), Rejection> {
        let last = self.promised.lock().last.take().filter(|(uid, _)| *uid == pod.uid);
        let Some((_, cycle)) = last else { return Ok(()) };
        let found = cycle.found(node).unwrap_or_default();
        let lacking = cycle.lacking().count();
        if found.allocations.len() != lacking {
            let user = lacking - usize::from(cycle.extended().is_some_and(|claim| !is_allocated(claim)));
            // The node may have all extended resources itself.
            if user == 0 && found.allocations.is_empty() {
                return Ok(());
            }
            return Err(Rejection::failed("claim allocation not found for node"));
        }
        let reserved = Arc::new(Reserved { cycle, found, made: Mutex::default() });
        for claim in reserved.meant() {
            self.objects.ledger.mean(claim);
        }
        self.promised.lock().reserved.insert(pod.uid.clone(), reserved);
        Ok(())
    }

    fn unreserve(&self, pod: &PodInfo, _: &str) {
        let reserved = self.promised.lock().reserved.get(&pod.uid).cloned();
        for claim in reserved.iter().flat_map(|reserved| reserved.meant()) {
            self.objects.ledger.forget(claim.metadata.uid.as_deref().unwrap_or_default());
        }
    }

    fn release<'a>(&'a self, client: &'a Client, pod: &'a PodInfo) -> Option<BoxFuture<'a, ()>> {
        let reserved = self.promised.lock().reserved.remove(&pod.uid)?;
        let released = async move {
            let objects = &self.objects;
            for claim in reserved.cycle.claims.iter() {
                let key = coracle_controllers::framework::Key::of(&claim.metadata);
                let now = objects.ledger.get(&objects.resource_claims, &key);
                if let Some(claim) =
                    now.filter(|claim| is_allocated(claim) && is_reserved_for(claim, &pod.uid))
                    && let Err(error) = bind::let_go(client, &claim, &pod.uid).await
                {
                    tracing::debug!(%key, %error, "claim not let go");
                }
            }
            let made = reserved.made.lock().clone();
            let made =
                made.or_else(|| reserved.cycle.extended().filter(|it| !extended::is_unmade(it)).cloned());
            if let Some(made) = made
                && let Err(error) = bind::delete(client, &made).await
            {
                tracing::debug!(pod = %pod.key(), %error, "claim for extended resources not deleted");
            }
        };
        Some(released.boxed())
    }

    fn pre_bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        node: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let reserved = self.promised.lock().reserved.get(&pod.uid).cloned()?;
        let written = async move {
            let claims = reserved.write(client, &self.objects, pod).await?;
            let waits = claims.iter().flat_map(|claim| results(claim));
            if waits.into_iter().any(|it| it.binding_conditions.as_ref().is_some_and(|all| !all.is_empty())) {
                if let Some(events) = self.events.get() {
                    let message = format!("waiting for binding conditions for device on node {node}");
                    let regarding = reference(&pod.pod);
                    events.act(
                        regarding,
                        Severity::Normal,
                        "BindingConditionsPending",
                        "Scheduling",
                        message,
                    );
                }
                bind::wait(&self.objects, &self.args, &claims).await?;
            }
            self.unreserve(pod, node);
            Ok(())
        };
        Some(written.boxed())
    }

    fn post_bind(&self, pod: &PodInfo, _: &str) {
        self.promised.lock().reserved.remove(&pod.uid);
    }
}
