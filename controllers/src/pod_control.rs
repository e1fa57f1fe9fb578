//! Creates and deletes a controller's pods, and remembers what it awaits.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};

use crate::{
    framework::{
        Change, Clock, Error, Expectations, Key, Recorder, Reflected, Severity, Store, controller_of,
    },
    slow_start::slow_start,
};

/// The controllers that a change of a pod may concern: its owners before and
/// after, or, when it has none, those that could adopt it.
pub(crate) fn concerned<O: Reflected + Resource<DynamicType = ()>>(
    change: &Change<'_, Pod>,
    known: &Store<O>,
    selects: impl Fn(&Arc<O>, Option<&BTreeMap<String, String>>) -> bool,
) -> Vec<Key> {
    let own = O::kind(&());
    let owners = change.controllers().filter(|(kind, ..)| *kind == own);
    let mut keys: Vec<Key> = owners.map(|(_, name, namespace)| Key::namespaced(namespace, name)).collect();
    if let Some(pod) = change.after
        && controller_of(&pod.metadata).is_none()
        && change.relabelled()
    {
        let candidates = known.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        let adopting = candidates.iter().filter(|owner| selects(owner, pod.metadata.labels.as_ref()));
        keys.extend(adopting.map(|owner| Key::of(owner.meta())));
    }
    keys.dedup();
    keys
}

/// What is done to pods in the name of their owners.
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) events: Recorder,
    pub(crate) pods: Arc<Store<Pod>>,
    pub(crate) expectations: Expectations,
}

impl PodControl {
    /// True when the store shows all that was done for `key`.
    pub(crate) fn settled(&self, key: &Key) -> bool {
        self.expectations.satisfied(key, &self.pods, self.clock.now())
    }

    /// Creates pods in batches that double, so that what cannot be created is
    /// tried a few times and not hundreds.
    /// # Errors
    /// The first of the batch in which some failed.
    pub(crate) async fn create<O>(&self, key: &Key, owner: &O, pods: Vec<Pod>) -> Result<(), Error>
    where
        O: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        slow_start(pods, |pod| async move { self.create_one(key, owner, &pod).await }).await
    }

    async fn create_one<O: Reflected + Resource<DynamicType = ()>>(
        &self,
        key: &Key,
        owner: &O,
        pod: &Pod,
    ) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), pod).await.map_err(Error::from) {
            Ok(created) => {
                self.expectations.created(key, &created, &self.pods, self.clock.now());
                let name = created.metadata.name.unwrap_or_default();
                self.events.event(
                    owner,
                    Severity::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {name}"),
                );
                Ok(())
            }
            // Nothing can be created any more, and nothing needs to be.
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                let text = format!("Error creating: {error}");
                self.events.event(owner, Severity::Warning, "FailedCreate", text);
                Err(error)
            }
        }
    }

    /// Deletes pods, all at once.
    /// # Errors
    /// The first that failed; a pod that is gone is none.
    pub(crate) async fn delete<O>(&self, key: &Key, owner: &O, pods: &[Arc<Pod>]) -> Result<(), Error>
    where
        O: Reflected + Resource<DynamicType = ()>,
    {
        let results = join_all(pods.iter().map(|pod| self.delete_one(key, owner, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one<O: Reflected + Resource<DynamicType = ()>>(
        &self,
        key: &Key,
        owner: &O,
        pod: &Pod,
    ) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let name = pod.metadata.name.clone().unwrap_or_default();
        match api.delete(&name, &DeleteParams::default()).await.map_err(Error::from) {
            Ok(_) => {
                self.expectations.deleted(key, pod, self.clock.now());
                self.events.event(
                    owner,
                    Severity::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                let text = format!("Error deleting: {error}");
                self.events.event(owner, Severity::Warning, "FailedDelete", text);
                Err(Error::Incomplete(format!("unable to delete pods: {error}")))
            }
        }
    }
}
