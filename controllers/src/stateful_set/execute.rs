//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use super::{
    StatefulSets, identity,
    plan::{Observed, Plan, Step},
    retention,
    revision::{self, Edition, Editions, Turn},
    status,
};
use crate::{
    framework::{Controller, Error, Key, Next, Severity, absent, claim, controller_reference, patch_claims},
    history::{self, Created, Revisions},
    pod,
    slow_start::slow_start,
};

/// When to look again at a set that still waits to see its own writes.
pub(super) const UNSETTLED: Duration = Duration::from_secs(301);
/// Names that are tried for one revision before the next reconcile goes on.
const NAMES_TRIED: i32 = 100;

/// What is done to a pod, in the words of events.
#[derive(Clone, Copy)]
enum Act {
    Create,
    Update,
    Delete,
}

impl Act {
    /// The verb, and the reasons of success and failure.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Act::Create => ("Create", "SuccessfulCreate", "FailedCreate"),
            Act::Update => ("Update", "SuccessfulUpdate", "FailedUpdate"),
            Act::Delete => ("Delete", "SuccessfulDelete", "FailedDelete"),
        }
    }
}

impl StatefulSets {
    /// Adopts and releases pods; returns those of `set`.
    pub(super) async fn claim_pods(&self, key: &Key, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, Error> {
        let mut pods = self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.extend(self.pods.orphans_in(&key.namespace));
        let reference = controller_reference(set);
        let ending = set.metadata.deletion_timestamp.is_some();
        let controller = Controller { reference: &reference, selector: &set.spec.selector, ending };
        let claims = claim(&controller, pods, |pod| identity::is_member(set, pod));
        patch_claims(&self.client, set, &reference, &claims.changes).await?;
        Ok(claims.owned)
    }

    /// Adopts and releases revisions; returns those of `set`, sorted.
    pub(super) async fn claim_revisions(
        &self,
        set: &StatefulSet,
    ) -> Result<Vec<Arc<ControllerRevision>>, Error> {
        let claims = history::controlled(&self.revisions, set, &set.spec.selector);
        patch_claims(&self.client, set, &controller_reference(set), &claims.changes).await?;
        let mut revisions = claims.owned;
        history::sort(&mut revisions);
        Ok(revisions)
    }

    /// Makes the revision of the set's template; returns it, and the one that
    /// pods had before.
    pub(super) async fn editions(
        &self,
        set: &StatefulSet,
        revisions: &[Arc<ControllerRevision>],
    ) -> Result<Editions, Error> {
        let mut collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let api = self.revisions_of(set);
        let update = match revision::turn(set, revisions) {
            Turn::Keep(last) => (*last).clone(),
            Turn::Renumber(earlier, number) => api.renumber(&earlier, number).await?,
            Turn::Create(number) => create_revision(&api, set, number, &mut collisions).await?,
        };
        let update = Edition::of(&update)
            .ok_or_else(|| Error::Invalid("the revision of the template holds no template".into()))?;
        let name = set.status.as_ref().and_then(|status| status.current_revision.as_ref());
        let known = revisions.iter().find(|revision| revision.metadata.name.as_ref() == name);
        let current = known.and_then(|revision| Edition::of(revision));
        // A set that is new has no revision before this one.
        let current = current
            .unwrap_or_else(|| Edition { name: update.name.clone(), template: update.template.clone() });
        Ok(Editions { current, update, collisions })
    }

    fn revisions_of(&self, set: &StatefulSet) -> Revisions {
        Revisions::of(&self.client, set.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Deletes the revisions beyond the set's limit.
    pub(super) async fn truncate(
        &self,
        observed: &Observed,
        revisions: &[Arc<ControllerRevision>],
        used: [&str; 2],
    ) -> Result<(), Error> {
        let api = self.revisions_of(&observed.set);
        for surplus in revision::surplus(&observed.set, revisions, &observed.pods, used) {
            api.delete(&surplus).await?;
        }
        Ok(())
    }

    pub(super) async fn execute(
        &self,
        key: &Key,
        observed: &Observed,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Next, Error> {
        let set = &*observed.set;
        let mut status = plan.status.clone();
        let done = self.change_pods(key, observed, plan, &mut status.current_replicas).await;
        let status = status::canonical(status::completed(set, status));
        let waits = status.ready_replicas.unwrap_or(0) != status.available_replicas.unwrap_or(0);
        if set.status.clone().map(status::canonical).as_ref() != Some(&status) {
            let mut updated = set.clone();
            updated.status = Some(status);
            let api = Api::<StatefulSet>::namespaced(self.client.clone(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            // That pods could not be changed matters more than that this could not be told.
            if done.is_ok() {
                absent(written)?;
            }
        }
        done?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        if min_ready > 0 && waits {
            let next = pod::next_availability(observed.pods.iter().map(Arc::as_ref), min_ready, now);
            return Ok(Next::After(next.unwrap_or(Duration::from_secs(min_ready.unsigned_abs().into()))));
        }
        Ok(Next::Change)
    }

    async fn change_pods(
        &self,
        key: &Key,
        observed: &Observed,
        plan: Plan,
        current: &mut Option<i32>,
    ) -> Result<(), Error> {
        for part in [plan.replicas, plan.condemned] {
            if plan.ordered {
                for steps in part {
                    self.take(key, observed, steps).await?;
                }
            } else {
                slow_start(part, |steps| self.take(key, observed, steps)).await?;
            }
        }
        for pod in plan.outdated {
            self.delete(key, &observed.set, &pod).await?;
            *current = current.map(|current| (current - 1).max(0));
        }
        Ok(())
    }

    async fn take(&self, key: &Key, observed: &Observed, steps: Vec<Step>) -> Result<(), Error> {
        let set = &*observed.set;
        for step in steps {
            match step {
                Step::Create(pod) => self.create(key, observed, &pod).await?,
                Step::Claims(pod) => {
                    self.create_claims(observed, &pod).await?;
                    let retained = self.retain(observed, &pod).await;
                    retained.inspect_err(|error| self.failed(set, Act::Update, &pod, error))?;
                }
                Step::Repair(pod) => {
                    let repaired = self.repair(key, observed, &pod).await;
                    repaired.inspect_err(|error| self.failed(set, Act::Update, &pod, error))?;
                    self.succeeded(set, Act::Update, &pod);
                }
                Step::Retain(pod) => self.retain(observed, &pod).await?,
                Step::Delete(pod) => self.delete(key, set, &pod).await?,
            }
        }
        Ok(())
    }

    async fn create(&self, key: &Key, observed: &Observed, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let claims = self.create_claims(observed, pod).await;
        claims.inspect_err(|error| self.failed(set, Act::Create, pod, error))?;
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), pod).await.map_err(Error::from) {
            Ok(created) => self.expectations.created(key, &created, &self.pods, self.clock.now()),
            // The copy does not show it yet.
            Err(error) if error.is_already_exists() => return Err(error),
            Err(error) => {
                self.failed(set, Act::Create, pod, &error);
                return Err(error);
            }
        }
        let retained = self.retain(observed, pod).await;
        retained.inspect_err(|error| self.failed(set, Act::Update, pod, error))?;
        self.succeeded(set, Act::Create, pod);
        Ok(())
    }

    async fn repair(&self, key: &Key, observed: &Observed, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let mut right = pod.clone();
        if !identity::is_identified(pod) {
            identity::identify(set, &mut right);
        }
        if !identity::is_stored(set, pod) {
            identity::store(set, &mut right);
            self.create_claims(observed, pod).await?;
        }
        self.retain(observed, pod).await?;
        if right == *pod {
            return Ok(());
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        Ok(api.replace(name, &PostParams::default(), &right).await.map(drop)?)
    }

    async fn delete(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let deleted = absent(api.delete(name, &DeleteParams::default()).await);
        if deleted.inspect_err(|error| self.failed(set, Act::Delete, pod, error))?.is_some() {
            self.expectations.deleted(key, pod, self.clock.now());
        }
        self.succeeded(set, Act::Delete, pod);
        Ok(())
    }

    /// Creates the claims of `pod` that are missing.
    async fn create_claims(&self, observed: &Observed, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let Some(ordinal) = identity::ordinal(pod) else { return Ok(()) };
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        let mut failures = Vec::new();
        for (_, claim) in identity::claims(set, ordinal) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            match observed.claims.get(name) {
                Some(there) if there.metadata.deletion_timestamp.is_none() => {}
                Some(_) => failures.push(format!("pvc {name} is being deleted")),
                None => {
                    let created = api.create(&PostParams::default(), &claim).await.map_err(Error::from);
                    self.tell_of_claim(set, pod, name, created.as_ref().err());
                    if let Err(error) = created {
                        failures.push(format!("failed to create PVC {name}: {error}"));
                    }
                }
            }
        }
        match failures.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::Incomplete(one.clone())),
            all => Err(Error::Incomplete(format!("[{}]", all.join(", ")))),
        }
    }

    fn tell_of_claim(&self, set: &StatefulSet, pod: &Pod, claim: &str, error: Option<&Error>) {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        match error {
            None => {
                let message = format!("Create Claim {claim} Pod {pod} in StatefulSet {name} success");
                self.events.event(set, Severity::Normal, "SuccessfulCreate", message);
            }
            Some(error) if error.is_already_exists() => {}
            Some(error) => {
                let message =
                    format!("Create Claim {claim} for Pod {pod} in StatefulSet {name} failed error: {error}");
                self.events.event(set, Severity::Warning, "FailedCreate", message);
            }
        }
    }

    /// Makes the owners of the claims of `pod` right.
    async fn retain(&self, observed: &Observed, pod: &Pod) -> Result<(), Error> {
        let set = &*observed.set;
        let Some(ordinal) = identity::ordinal(pod) else { return Ok(()) };
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        for name in identity::claim_names(set, ordinal) {
            let Some(claim) = observed.claims.get(&name) else { continue };
            if retention::is_contested(set, claim, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging \
                     controller, the retention policy is ignored for this claim"
                );
                self.events.event(set, Severity::Warning, "ConflictingController", message);
            }
            if !retention::is_met(set, claim, pod) {
                let met = retention::met(set, claim, pod);
                api.replace(&name, &PostParams::default(), &met).await.map_err(|error| {
                    let error = Error::from(error);
                    Error::Incomplete(format!(
                        "could not update claim {name} for delete policy ownerRefs: {error}"
                    ))
                })?;
            }
        }
        Ok(())
    }

    fn succeeded(&self, set: &StatefulSet, act: Act, pod: &Pod) {
        let (verb, reason, _) = act.words();
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("{verb} Pod {pod} in StatefulSet {name} successful");
        self.events.event(set, Severity::Normal, reason, message);
    }

    fn failed(&self, set: &StatefulSet, act: Act, pod: &Pod, error: &Error) {
        let (verb, _, reason) = act.words();
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("{verb} Pod {pod} in StatefulSet {name} failed error: {error}");
        self.events.event(set, Severity::Warning, reason, message);
    }
}

/// Creates the revision of the set's template under the first name that no
/// other revision has; `collisions` counts those that were taken.
async fn create_revision(
    api: &Revisions,
    set: &StatefulSet,
    number: i64,
    collisions: &mut i32,
) -> Result<ControllerRevision, Error> {
    let mut taken = Error::Stale("revisions".into());
    for _ in 0..NAMES_TRIED {
        let made = revision::made(set, number, *collisions);
        match api.create(&made).await? {
            Created::New(created) => return Ok(created),
            Created::Taken(there, _) if history::same(&there, &made.data.0) => return Ok(there),
            Created::Taken(_, error) => {
                taken = error;
                *collisions = collisions.saturating_add(1);
            }
        }
    }
    Err(taken)
}
