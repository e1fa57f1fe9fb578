//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::Pod,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    DaemonSets, daemon,
    plan::{Field, Plan},
    revision, status,
};
use crate::{
    framework::{Controller, Error, Key, Next, absent, claim, controller_reference, patch_claims},
    history::{self, Created, REVISION_LABEL, Revisions},
};

/// When to look again at a set that still waits to see its own writes.
const UNSETTLED: Duration = Duration::from_secs(301);

/// The generation of the set that was last acted on.
pub(super) fn acted_on(set: &DaemonSet) -> i64 {
    set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0)
}

impl DaemonSets {
    /// Adopts and releases pods; returns those of `set`.
    pub(super) async fn claim_pods(&self, key: &Key, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, Error> {
        let store = &self.control.pods;
        let mut pods = store.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.extend(store.orphans_in(&key.namespace));
        let reference = controller_reference(set);
        let controller = Controller { reference: &reference, selector: &set.spec.selector, ending: false };
        let claims = claim(&controller, pods, |_| true);
        patch_claims(&self.control.client, set, &reference, &claims.changes).await?;
        Ok(claims.owned)
    }

    /// Makes the revision of the set's template; returns its hash, and the
    /// other revisions, sorted.
    pub(super) async fn revision(
        &self,
        set: &DaemonSet,
        pods: &[Arc<Pod>],
    ) -> Result<(String, Vec<Arc<ControllerRevision>>), Error> {
        let claims = history::controlled(&self.revisions, set, &set.spec.selector);
        patch_claims(&self.control.client, set, &controller_reference(set), &claims.changes).await?;
        let api = self.revisions_of(set);
        let mut revisions = claims.owned;
        for revision in &mut revisions {
            if revision::hash(&revision.metadata).is_empty() {
                // Its name is as good as a hash.
                let mut labelled = (**revision).clone();
                let name = labelled.metadata.name.clone().unwrap_or_default();
                labelled.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), name);
                *revision = Arc::new(api.replace(&labelled).await?);
            }
        }
        let turn = revision::turn(set, revisions);
        let current = match turn.current {
            None => self.create_revision(&api, set, turn.number).await?,
            Some(current) => {
                self.merge_duplicates(&api, set, &current, &turn.duplicates, pods).await?;
                if current.revision.unwrap_or(0) < turn.number {
                    api.renumber(&current, turn.number).await?
                } else {
                    (*current).clone()
                }
            }
        };
        Ok((revision::hash(&current.metadata).to_owned(), turn.old))
    }

    fn revisions_of(&self, set: &DaemonSet) -> Revisions {
        Revisions::of(&self.control.client, set.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn sets_of(&self, set: &DaemonSet) -> Api<DaemonSet> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.control.client.clone(), namespace)
    }

    async fn create_revision(
        &self,
        api: &Revisions,
        set: &DaemonSet,
        number: i64,
    ) -> Result<ControllerRevision, Error> {
        let made = revision::made(set, number);
        let error = match api.create(&made).await? {
            Created::New(created) => return Ok(created),
            Created::Taken(there, _) if history::same(&there, &made.data.0) => return Ok(there),
            Created::Taken(_, error) => error,
        };
        // Another template has the name. The next try has another hash.
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let api = self.sets_of(set);
        let mut fresh = api.get(name).await?;
        let count = |set: &DaemonSet| set.status.as_ref().and_then(|status| status.collision_count);
        if count(&fresh) != count(set) {
            return Err(Error::Stale(name.to_owned()));
        }
        let status = fresh.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
        api.replace_status(name, &PostParams::default(), &fresh).await?;
        Err(error)
    }

    /// Leaves only `current` of the revisions that say the same.
    async fn merge_duplicates(
        &self,
        api: &Revisions,
        set: &DaemonSet,
        current: &ControllerRevision,
        duplicates: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        if duplicates.is_empty() {
            return Ok(());
        }
        let hash = revision::hash(&current.metadata);
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api_of_pods = Api::<Pod>::namespaced(self.control.client.clone(), namespace);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { REVISION_LABEL: hash } } }));
        for pod in pods.iter().filter(|pod| revision::hash(&pod.metadata) != hash) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            absent(api_of_pods.patch_metadata(name, &PatchParams::default(), &patch).await)?;
        }
        for duplicate in duplicates {
            api.delete(duplicate).await?;
        }
        Ok(())
    }

    pub(super) async fn execute(
        &self,
        key: &Key,
        field: &Field<'_>,
        plan: Plan,
        old: &[Arc<ControllerRevision>],
    ) -> Result<Next, Error> {
        let set = field.set;
        for note in plan.notes {
            self.control.events.event(set, note.severity, note.reason, note.message);
        }
        for node in plan.failed {
            self.backoff.advance(key, acted_on(set), node, field.now);
        }
        let mut done = self.change_pods(key, field, plan.create, &plan.delete).await;
        if field.observed.settled && done.is_ok() {
            done = self.truncate(field, old).await;
        }
        let status = status::status(field);
        let waits = status.number_ready != status.number_available.unwrap_or(0);
        if set.status.as_ref() != Some(&status) {
            let mut updated = set.clone();
            updated.status = Some(status);
            let written = self.sets_of(set).replace_status(&key.name, &PostParams::default(), &updated).await;
            // That pods could not be changed matters more than that this could not be told.
            if done.is_ok() {
                absent(written)?;
            }
        }
        done?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let ready = Duration::from_secs(min_ready.unsigned_abs().into());
        let unsettled = Some(UNSETTLED).filter(|_| !field.observed.settled);
        let ready = Some(ready).filter(|_| min_ready > 0 && waits);
        Ok([plan.again, ready, unsettled].into_iter().flatten().min().map_or(Next::Change, Next::After))
    }

    async fn change_pods(
        &self,
        key: &Key,
        field: &Field<'_>,
        create: Vec<String>,
        delete: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let (set, hash) = (field.set, field.observed.hash.as_str());
        let pods = create.iter().map(|node| daemon::pod(set, node, hash)).collect();
        let created = self.control.create(key, set, pods).await;
        // Also when some cannot be created: the others are to go all the same.
        let deleted = self.control.delete(key, set, delete).await;
        created.and(deleted)
    }

    async fn truncate(&self, field: &Field<'_>, old: &[Arc<ControllerRevision>]) -> Result<(), Error> {
        let api = self.revisions_of(field.set);
        for surplus in revision::surplus(field.set, old, &field.observed.pods) {
            api.delete(surplus).await.map_err(|error| {
                Error::Incomplete(format!("failed to clean up revisions of DaemonSet: {error}"))
            })?;
        }
        Ok(())
    }
}
