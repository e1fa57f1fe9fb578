//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use super::{
    ReplicaSets, Replicating,
    plan::{Observed, Plan},
    status,
};
use crate::{
    framework::{Error, Key, Next, Severity, patch_claims},
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
        patch_claims(&self.client, stored, &observed.reference, &plan.claims).await?;
        let managed = match (plan.create, plan.delete.as_slice()) {
            (0, []) => Ok(()),
            (0, surplus) => self.delete(key, stored, surplus).await,
            (missing, _) => self.create(key, stored, observed, missing).await,
        };
        let failure = managed.as_ref().err().map(ToString::to_string);
        let status = status::status(set, &plan, failure.as_deref(), now);
        let (ready, available) = (status.ready_replicas, status.available_replicas);
        if let Some(updated) = stored.with_status(status) {
            let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
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

    /// Creates pods in batches that double, so that what cannot be created
    /// is tried a few times and not hundreds.
    async fn create(&self, key: &Key, set: &K, observed: &Observed, missing: usize) -> Result<(), Error> {
        let Some(template) = &observed.set.spec.template else { return Ok(()) };
        let pod = pod::from_template(template, observed.reference.clone());
        let (mut left, mut batch) = (missing, 1);
        while left > 0 {
            batch = batch.min(left);
            let results = join_all((0..batch).map(|_| self.create_one(key, set, &pod))).await;
            results.into_iter().collect::<Result<Vec<()>, Error>>()?;
            left -= batch;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, key: &Key, set: &K, pod: &Pod) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), pod).await.map_err(Error::from) {
            Ok(created) => {
                self.expectations.created(key, &created, &self.pods, self.clock.now());
                let name = created.metadata.name.unwrap_or_default();
                self.events.event(set, Severity::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            // Nothing can be created any more, and nothing needs to be.
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                self.events.event(set, Severity::Warning, "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &Key, set: &K, surplus: &[Arc<Pod>]) -> Result<(), Error> {
        let results = join_all(surplus.iter().map(|pod| self.delete_one(key, set, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one(&self, key: &Key, set: &K, pod: &Pod) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let name = pod.metadata.name.clone().unwrap_or_default();
        match api.delete(&name, &DeleteParams::default()).await.map_err(Error::from) {
            Ok(_) => {
                self.expectations.deleted(key, pod, self.clock.now());
                self.events.event(set, Severity::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                self.events.event(set, Severity::Warning, "FailedDelete", format!("Error deleting: {error}"));
                Err(Error::Incomplete(format!("unable to delete pods: {error}")))
            }
        }
    }
}
