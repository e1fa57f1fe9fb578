//! Counts what is used of each ResourceQuota.
//!
//! The API server charges what is written; here all is counted again: for new
//! quotas, when something that was charged goes, and every five minutes.
//! Start at [`plan::plan`].

mod counted;
mod plan;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use coracle_api::quota::{Evaluator, Scope, is_terminating};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use self::counted::{Counted, Elsewhere};
use crate::{
    framework::{Change, Clock, Error, Key, Next, Queue, Reconcile, Reflected, Setup, Store, absent},
    pod::is_terminal,
};

const WORKERS: usize = 5;
/// How often all is counted again.
const RESYNC: Duration = Duration::from_secs(300);
/// How often kinds are counted again that nothing here follows.
const RECOUNT: Duration = Duration::from_secs(5);
/// After this long all that was charged is certainly seen.
const QUIET: Duration = Duration::from_millis(500);

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let quotas = setup.reflect::<ResourceQuota>();
    let queue = Queue::new();
    let on_quota = queue.clone();
    quotas.on_change(move |change| {
        let Some(quota) = change.after else { return };
        // What is charged by the API server needs no recount.
        let limits = |it: &ResourceQuota| it.spec.as_ref().and_then(|spec| spec.hard.clone());
        let status = |it: &ResourceQuota| it.status.as_ref().and_then(|status| status.hard.clone());
        let seen = |it: &Arc<ResourceQuota>| (limits(it), status(it));
        if change.before.map(&seen) != Some(seen(quota)) {
            on_quota.add(Key::of(&quota.metadata));
        }
    });
    let freed = Freed { quotas: quotas.store(), queue: queue.clone() };
    let clock = setup.clock.clone();
    let pods = freed
        .follow::<Pod>(setup, Evaluator::Pod, move |before, after| pod_frees(before, after, clock.now()));
    let services = freed.follow::<Service>(setup, Evaluator::Service, |before, after| {
        let kind = |it: &Service| it.spec.as_ref().and_then(|spec| spec.type_.clone());
        kind(before) != kind(after)
    });
    let claims = freed.follow::<PersistentVolumeClaim>(setup, Evaluator::Claim, |before, after| {
        let allocated = |it: &PersistentVolumeClaim| {
            it.status
                .as_ref()
                .map(|it| (it.allocated_resources.clone(), it.current_volume_attributes_class_name.clone()))
        };
        allocated(before) != allocated(after)
    });
    let controller = Quotas {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        quotas: quotas.store(),
        pods,
        services,
        claims,
        counted: counted::all(setup, &freed),
        elsewhere: Elsewhere::new(setup.client.clone()),
        seen: Mutex::default(),
    };
    setup.reconcile("resourcequota-controller", queue, WORKERS, controller);
}

fn pod_frees(before: &Pod, after: &Pod, now: Timestamp) -> bool {
    let terminating = |pod: &Pod| {
        let deadline = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        is_terminating(&serde_json::json!({ "spec": { "activeDeadlineSeconds": deadline } }))
    };
    let overdue = |pod: &Pod| {
        let grace = pod.metadata.deletion_grace_period_seconds.map(jiff::SignedDuration::from_secs);
        let gone = pod.metadata.deletion_timestamp.as_ref().zip(grace);
        gone.is_some_and(|(at, grace)| at.0.checked_add(grace).is_ok_and(|gone| gone < now))
    };
    let resources = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|it| it.container_statuses.iter().flatten());
        statuses.map(|it| it.resources.clone()).collect::<Vec<_>>()
    };
    let ended = |pod: &Pod| is_terminal(pod) || overdue(pod);
    terminating(before) != terminating(after)
        || (!ended(before) && ended(after))
        || resources(before) != resources(after)
}

/// Tells the quotas of which something may have become free.
#[derive(Clone)]
struct Freed {
    quotas: Arc<Store<ResourceQuota>>,
    queue: Queue<Key>,
}

impl Freed {
    /// Follows the objects of a kind; `frees` tells of which changes.
    fn follow<K>(
        &self,
        setup: &mut Setup,
        evaluator: Evaluator,
        frees: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
    ) -> Arc<Store<K>>
    where
        K: Reflected + kube::Resource<DynamicType = ()>,
    {
        let objects = setup.reflect::<K>();
        let freed = self.clone();
        objects.on_change(move |change: &Change<'_, K>| match (change.before, change.after) {
            (Some(before), None) => freed.tell(before.meta().namespace.as_deref(), &evaluator),
            // Most namespaces have no quota, and need not be compared.
            (Some(before), Some(after))
                if freed.limits(after.meta().namespace.as_deref()) && frees(before, after) =>
            {
                freed.tell(after.meta().namespace.as_deref(), &evaluator);
            }
            _ => {}
        });
        objects.store()
    }

    fn limits(&self, namespace: Option<&str>) -> bool {
        !self.quotas.in_namespace(namespace.unwrap_or_default()).is_empty()
    }

    fn tell(&self, namespace: Option<&str>, evaluator: &Evaluator) {
        for quota in self.quotas.in_namespace(namespace.unwrap_or_default()) {
            let hard = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
            if hard.into_iter().any(|(name, _)| evaluator.measures(name)) {
                self.queue.add(Key::of(&quota.metadata));
            }
        }
    }
}

struct Quotas {
    client: Client,
    clock: Clock,
    quotas: Arc<Store<ResourceQuota>>,
    pods: Arc<Store<Pod>>,
    services: Arc<Store<Service>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    counted: Vec<Counted>,
    elsewhere: Elsewhere,
    // Since when a quota has the revision that it has.
    seen: Mutex<HashMap<Key, (Option<String>, Instant)>>,
}

impl Reconcile<Key> for Quotas {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(quota) = self.quotas.get(key) else { return Ok(Next::Change) };
        let names: BTreeSet<String> = quota
            .spec
            .iter()
            .flat_map(|spec| spec.hard.iter().flatten())
            .map(|(name, _)| name.clone())
            .collect();
        let scopes =
            Scope::of(&serde_json::to_value(&*quota).map_err(|error| Error::Invalid(error.to_string()))?);
        let now = self.clock.now();
        let mut used = plan::Used::new(&names, &scopes, now);
        used.measure(&Evaluator::Pod, || values(&self.pods, key));
        used.measure(&Evaluator::Service, || values(&self.services, key));
        used.measure(&Evaluator::Claim, || values(&self.claims, key));
        for kind in &self.counted {
            used.count(&kind.evaluator, || kind.count(&key.namespace));
        }
        let mut next = RESYNC;
        let mut failure = None;
        for name in used.unmeasured() {
            match self.elsewhere.count(&name, &key.namespace).await {
                Ok(Some(count)) => {
                    used.count(&Evaluator::Count(vec![name]), || count);
                    next = RECOUNT;
                }
                // No such kind, or none that is counted: what was known stays.
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(status) = plan::plan(&quota, used) {
            // What was charged may be on its way, and not be seen yet: less is used only when it is quiet.
            if plan::lowers(&quota, &status) && !self.is_quiet(key, &quota) {
                return Ok(Next::After(QUIET));
            }
            let changed = ResourceQuota { status: Some(status), ..ResourceQuota::clone(&quota) };
            let api = Api::<ResourceQuota>::namespaced(self.client.clone(), &key.namespace);
            absent(api.replace_status(&key.name, &PostParams::default(), &changed).await)?;
        }
        failure.map_or(Ok(Next::After(next)), Err)
    }
}

impl Quotas {
    // Whether nothing was charged for a while.
    fn is_quiet(&self, key: &Key, quota: &ResourceQuota) -> bool {
        let now = Instant::now();
        let revision = quota.metadata.resource_version.clone();
        let mut seen = self.seen.lock();
        seen.retain(|key, _| self.quotas.get(key).is_some());
        let (known, since) = seen.entry(key.clone()).or_insert_with(|| (revision.clone(), now));
        if *known != revision {
            (*known, *since) = (revision, now);
        }
        now.duration_since(*since) >= QUIET
    }
}

fn values<K: Reflected + Serialize>(store: &Store<K>, key: &Key) -> Vec<Value> {
    let objects = store.in_namespace(&key.namespace);
    objects.iter().filter_map(|object| serde_json::to_value(&**object).ok()).collect()
}
