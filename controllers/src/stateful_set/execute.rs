//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    StatefulSets, claims,
    plan::{self, Observed, Step},
    replica, status,
};
use crate::{
    framework::{Error, Key, Next, Severity},
    history::Settled,
    pod,
};

/// When to look again at a set that still waits to see its own writes.
pub(super) const UNSETTLED: Duration = Duration::from_secs(301);

impl StatefulSets {
    pub(super) async fn execute(
        &self,
        key: &Key,
        observed: &Observed,
        history: &Settled,
    ) -> Result<Next, Error> {
        let now = self.clock.now();
        let plan = plan::plan(observed, now);
        let mut done = Ok(());
        for step in &plan.steps {
            done = self.step(key, observed, step).await;
            if done.is_err() {
                break;
            }
        }
        let status = status::status(observed, &plan, history.collisions, now);
        let lacking = status.ready_replicas.unwrap_or(0) > status.available_replicas.unwrap_or(0);
        let live = [status.current_revision.clone(), status.update_revision.clone()];
        if observed.set.status.as_ref() != Some(&status) {
            let mut updated = (*observed.set).clone();
            updated.status = Some(status);
            let api = Api::<StatefulSet>::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        done?;
        let limit = observed.set.spec.revision_history_limit;
        let is_live = |revision: &k8s_openapi::api::apps::v1::ControllerRevision| {
            let name = revision.name_any();
            live.iter().flatten().any(|it| *it == name)
                || observed.pods.iter().any(|pod| replica::revision(pod) == name)
        };
        self.history.truncate(&history.old, limit, is_live).await?;
        let min_ready = observed.set.spec.min_ready_seconds.unwrap_or(0);
        if min_ready > 0 && lacking {
            let next = pod::next_availability(observed.pods.iter().map(Arc::as_ref), min_ready, now);
            return Ok(Next::After(next.unwrap_or(Duration::from_secs(min_ready.unsigned_abs().into()))));
        }
        Ok(Next::Change)
    }

    async fn step(&self, key: &Key, observed: &Observed, step: &Step) -> Result<(), Error> {
        let set = &*observed.set;
        match step {
            Step::Create(ordinal, pod) => self.create(key, observed, *ordinal, pod).await,
            Step::Claims(ordinal, pod) => {
                self.create_claims(observed, *ordinal, &pod.name_any()).await?;
                self.own_claims(observed, *ordinal, pod).await
            }
            Step::Mend(ordinal, pod) => self.mend(key, observed, *ordinal, pod).await,
            Step::Delete(pod) => {
                let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
                let deleted = api.delete(&pod.name_any(), &DeleteParams::default()).await;
                let deleted = match deleted.map(drop).map_err(Error::from) {
                    Err(error) if error.is_not_found() => Ok(()),
                    other => other,
                };
                if deleted.is_ok() {
                    self.expectations.deleted(key, &**pod, self.clock.now());
                }
                self.tell(set, "Delete", &pod.name_any(), &deleted);
                deleted
            }
        }
    }

    async fn create(&self, key: &Key, observed: &Observed, ordinal: i32, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let name = pod.name_any();
        if let Err(error) = self.create_claims(observed, ordinal, &name).await {
            let failed = Err(error);
            self.tell(set, "Create", &name, &failed);
            return failed;
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), pod).await.map_err(Error::from) {
            Ok(created) => {
                self.expectations.created(key, &created, &self.pods, self.clock.now());
                self.tell(set, "Create", &name, &Ok(()));
                self.own_claims(observed, ordinal, &created).await
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            // Of somebody else, or ours and not seen yet: events are for what is wrong.
            Err(error) if error.is_already_exists() => Err(error),
            Err(error) => {
                let failed = Err(error);
                self.tell(set, "Create", &name, &failed);
                failed
            }
        }
    }

    async fn create_claims(&self, observed: &Observed, ordinal: i32, pod: &str) -> Result<(), Error> {
        let set = &*observed.set;
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        for (_, claim) in replica::claims(set, ordinal) {
            let name = claim.name_any();
            match observed.claims.get(&name) {
                Some(known) if known.metadata.deletion_timestamp.is_some() => {
                    return Err(Error::Incomplete(format!("pvc {name} is being deleted")));
                }
                Some(_) => continue,
                None => {}
            }
            let place = format!("Claim {name} Pod {pod} in StatefulSet {}", set.name_any());
            match api.create(&PostParams::default(), &claim).await.map_err(Error::from) {
                Ok(_) => {
                    let text = format!("Create {place} success");
                    self.events.event(set, Severity::Normal, "SuccessfulCreate", text);
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let place = place.replacen(" Pod", " for Pod", 1);
                    let text = format!("Create {place} failed error: {error}");
                    self.events.event(set, Severity::Warning, "FailedCreate", text);
                    return Err(Error::Incomplete(format!("failed to create PVC {name}: {error}")));
                }
            }
        }
        Ok(())
    }

    // Makes the owners of a pod's claims what the set's policy says.
    async fn own_claims(&self, observed: &Observed, ordinal: i32, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        for (_, claim) in replica::claims(set, ordinal) {
            let name = claim.name_any();
            let known = match observed.claims.get(&name) {
                Some(known) => (**known).clone(),
                // Just made: a copy does not show it yet.
                None => match api.get_opt(&name).await? {
                    Some(claim) => claim,
                    None => continue,
                },
            };
            if claims::is_managed_otherwise(set, &known, pod) {
                let text = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging \
                     controller, the retention policy is ignored for this claim"
                );
                self.events.event(set, Severity::Warning, "ConflictingController", text);
            }
            if let Some(owners) = claims::owners(set, &known, pod, ordinal) {
                let patch = json!({ "metadata": {
                    "ownerReferences": owners,
                    "resourceVersion": known.metadata.resource_version,
                } });
                api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
        }
        Ok(())
    }

    async fn mend(&self, key: &Key, observed: &Observed, ordinal: i32, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        self.own_claims(observed, ordinal, pod).await?;
        let Some(mended) = replica::mended(set, pod, ordinal) else { return Ok(()) };
        self.create_claims(observed, ordinal, &pod.name_any()).await?;
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let written = api.replace(&pod.name_any(), &PostParams::default(), &mended).await;
        let written = written.map(drop).map_err(Error::from);
        self.tell(set, "Update", &pod.name_any(), &written);
        written
    }

    fn tell(&self, set: &StatefulSet, verb: &str, pod: &str, done: &Result<(), Error>) {
        let place = format!("{verb} Pod {pod} in StatefulSet {}", set.name_any());
        match done {
            Ok(()) => {
                let text = format!("{place} successful");
                self.events.event(set, Severity::Normal, reason("Successful", verb), text);
            }
            Err(error) => {
                let text = format!("{place} failed error: {error}");
                self.events.event(set, Severity::Warning, reason("Failed", verb), text);
            }
        }
    }
}

fn reason(outcome: &str, verb: &str) -> &'static str {
    match (outcome, verb) {
        ("Successful", "Create") => "SuccessfulCreate",
        ("Successful", "Update") => "SuccessfulUpdate",
        ("Successful", _) => "SuccessfulDelete",
        (_, "Create") => "FailedCreate",
        (_, "Update") => "FailedUpdate",
        _ => "FailedDelete",
    }
}
