//! How many pods the controllers of pods want.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v1::Scale,
        core::v1::{Pod, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource,
    core::{DynamicObject, GroupVersionKind},
};

use crate::framework::{Error, Key, Reflected, Setup, Store, controller_of};

/// Where controllers of pods are found.
pub(super) struct Scales {
    client: Client,
    controllers: Arc<Store<ReplicationController>>,
    sets: Arc<Store<ReplicaSet>>,
    deployments: Arc<Store<Deployment>>,
    stateful: Arc<Store<StatefulSet>>,
}

/// What the controllers of some pods want.
#[derive(Default)]
pub(super) struct Wanted {
    /// Pods in all.
    pub(super) count: i32,
    /// Whether some pods have no controller.
    pub(super) unmanaged: bool,
}

impl Scales {
    pub(super) fn new(setup: &mut Setup) -> Self {
        Self {
            client: setup.client.clone(),
            controllers: setup.reflect().store(),
            sets: setup.reflect().store(),
            deployments: setup.reflect().store(),
            stateful: setup.reflect().store(),
        }
    }

    /// What the controllers of `pods`, all of one namespace, want.
    /// # Errors
    /// One has a controller whose scale cannot be told.
    pub(super) async fn wanted(&self, pods: &[Arc<Pod>]) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        let mut known: BTreeMap<String, i32> = BTreeMap::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                wanted.unmanaged = true;
                continue;
            };
            if !seen.insert(&owner.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = match self.built_in(owner, namespace) {
                Some(found) => Some(found),
                None => self.scale(owner, namespace).await?,
            };
            let Some((uid, count)) = found else {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(Error::Invalid(format!("found no controllers for pod {name:?}")));
            };
            known.insert(uid, count);
        }
        wanted.count = known.values().fold(0, |sum: i32, count| sum.saturating_add(*count));
        Ok(wanted)
    }

    /// The uid and replicas of a controller of a kind that is reflected here.
    fn built_in(&self, owner: &OwnerReference, namespace: &str) -> Option<(String, i32)> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = owned(&self.controllers, owner, namespace)?;
                Some((owner.uid.clone(), found.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            ("apps", "StatefulSet") => {
                let found = owned(&self.stateful, owner, namespace)?;
                Some((owner.uid.clone(), found.spec.replicas.unwrap_or(1)))
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let set = owned(&self.sets, owner, namespace)?;
                let above = controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                let Some(above) = above else {
                    return Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1)));
                };
                let found = owned(&self.deployments, above, namespace)?;
                Some((above.uid.clone(), found.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }

    /// The same by the scale that the API shows of any kind.
    async fn scale(&self, owner: &OwnerReference, namespace: &str) -> Result<Option<(String, i32)>, Error> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let (resource, capabilities) = match kube::discovery::pinned_kind(&self.client, &kind).await {
            Ok(found) => found,
            Err(error) => {
                let kind = &owner.kind;
                tracing::debug!(%error, kind, "no such kind");
                return Err(Error::Invalid(format!(
                    "no matches for kind {kind:?} in version {:?}",
                    owner.api_version
                )));
            }
        };
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let scalable = capabilities.subresources.iter().any(|(sub, _)| sub.plural.ends_with("scale"));
        if !scalable {
            let name = [resource.plural.as_str(), group].join(if group.is_empty() { "" } else { "." });
            return Err(Error::Invalid(format!("{name} does not implement the scale subresource")));
        }
        let shown = match api.get_subresource("scale", &owner.name).await.map_err(Error::from) {
            Ok(shown) => shown,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let scale: Scale = shown.try_parse().map_err(|error| Error::Invalid(error.to_string()))?;
        let same = scale.metadata.uid.as_deref() == Some(&owner.uid);
        Ok(same.then(|| (owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
    }
}

fn owned<K: Reflected + Resource>(
    store: &Store<K>,
    owner: &OwnerReference,
    namespace: &str,
) -> Option<Arc<K>> {
    let found = store.get(&Key::namespaced(namespace, owner.name.clone()))?;
    (found.meta().uid.as_deref() == Some(&owner.uid)).then_some(found)
}
