//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};

use super::{
    ReplicaSets, Replicating,
    plan::{Observed, Plan},
    status,
};
use crate::{
    framework::{Error, Key, Next, patch_claims},
    pod,
};

/// When to look again at a set that still waits to see its own writes.
const UNSETTLED: Duration = Duration::from_secs(301);

impl<K: Replicating> ReplicaSets<K> {
    pub(super) async fn execute(
        &self,
        key: &Key,
        stored: &K,
        observed: &Observed,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Next, Error> {
        let set = &*observed.set;
        patch_claims(&self.control.client, stored, &observed.reference, &plan.claims).await?;
        let managed = match (plan.create, plan.delete.as_slice()) {
            (0, []) => Ok(()),
            (0, surplus) => self.control.delete(key, stored, surplus).await,
            (missing, _) => self.control.create(key, stored, new_pods(observed, missing)).await,
        };
        let failure = managed.as_ref().err().map(ToString::to_string);
        let status = status::status(set, &plan, failure.as_deref(), now);
        let (ready, available) = (status.ready_replicas, status.available_replicas);
        if let Some(updated) = stored.with_status(status) {
            let api = Api::<K>::namespaced(self.control.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        managed?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        if min_ready > 0 && ready != available {
            let active = plan.active.iter().map(Arc::as_ref);
            let next = pod::next_availability(active, min_ready, now);
            return Ok(Next::After(next.unwrap_or(Duration::from_secs(min_ready.unsigned_abs().into()))));
        }
        Ok(if observed.settled { Next::Change } else { Next::After(UNSETTLED) })
    }
}

fn new_pods(observed: &Observed, missing: usize) -> Vec<Pod> {
    let Some(template) = &observed.set.spec.template else { return Vec::new() };
    vec![pod::from_template(template, observed.reference.clone()); missing]
}
