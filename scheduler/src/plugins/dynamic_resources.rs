//! Claims of devices: a pod goes where the devices of its claims are, and
//! they are reserved for it before it is bound.
//!
//! Claims must have been allocated already: the scheduler does not allocate
//! devices yet, and says so of claims that wait for it.

use std::{collections::BTreeSet, sync::Arc};

use coracle_controllers::{
    framework::{Error, Key},
    node_selector::Selection,
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    core::v1::PodResourceClaim,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
};
use kube::{Api, Client, api::PostParams};

use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Happening, Plugin, Rejection},
    pod::PodInfo,
};

/// So many may use a claim at once.
const CONSUMERS: usize = 256;
/// Conflicting writes of a claim that are tried again.
const TRIES: usize = 5;

pub(super) struct DynamicResources(pub(super) Objects);

/// Where the devices of the pod's claims are.
struct Places(Vec<Selection>);

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(
            happening,
            Happening::NodeAdded | Happening::NodeLabels | Happening::Devices | Happening::PodChanged
        )
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let mut places = Vec::new();
        for claim in self.claims(pod)? {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let status = claim.status.as_ref();
            let Some(allocation) = status.and_then(|status| status.allocation.as_ref()) else {
                let text = format!(
                    "cannot allocate all claims: resourceclaim {name:?} is not allocated, and this scheduler does not allocate devices"
                );
                return Err(Rejection::unresolvable(text));
            };
            let consumers = status.and_then(|status| status.reserved_for.as_deref()).unwrap_or_default();
            if consumers.len() >= CONSUMERS && !consumers.iter().any(|consumer| consumer.uid == pod.uid) {
                return Err(Rejection::unresolvable("resourceclaim in use"));
            }
            places.extend(allocation.node_selector.as_ref().map(Selection::of));
        }
        if !places.is_empty() {
            state.put(Places(places));
        }
        Ok(None)
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, info: &NodeInfo) -> Result<(), Rejection> {
        let (Some(Places(places)), Some(node)) = (state.get(), &info.node) else { return Ok(()) };
        if places.iter().all(|place| place.matches(node)) {
            return Ok(());
        }
        Err(Rejection::unresolvable("resourceclaim not available on the node"))
    }

    fn pre_bind<'a>(
        &'a self,
        client: &'a Client,
        pod: &'a PodInfo,
        _: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        if asked(pod).is_empty() {
            return None;
        }
        let reserved = async move {
            for claim in self.claims(pod).map_err(|why| Error::Incomplete(why.reasons.join(", ")))? {
                reserve(client, &Key::of(&claim.metadata), pod).await?;
            }
            Ok(())
        };
        Some(reserved.boxed())
    }
}

fn asked(pod: &PodInfo) -> &[PodResourceClaim] {
    pod.spec().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

impl DynamicResources {
    /// The claims of the pod; those that it turned out not to need are left out.
    fn claims(&self, pod: &PodInfo) -> Result<Vec<Arc<ResourceClaim>>, Rejection> {
        let statuses = pod.pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref());
        let namespace = pod.pod.metadata.namespace.clone().unwrap_or_default();
        let mut claims = Vec::new();
        for asked in asked(pod) {
            let made = statuses.unwrap_or_default().iter().find(|status| status.name == asked.name);
            let name = match (&asked.resource_claim_name, made) {
                (Some(name), _) => name,
                (None, Some(made)) => match &made.resource_claim_name {
                    Some(name) => name,
                    None => continue,
                },
                (None, None) => {
                    let text = format!("pod claim {}: ResourceClaim not created yet", asked.name);
                    return Err(Rejection::unresolvable(text));
                }
            };
            let claim = self.0.resource_claims.get(&Key::namespaced(namespace.clone(), name.clone()));
            let claim = claim.ok_or_else(|| {
                Rejection::unresolvable(format!("could not find v1.ResourceClaim \"{namespace}/{name}\""))
            })?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(Rejection::unresolvable(format!("resourceclaim {name:?} is being deleted")));
            }
            claims.push(claim);
        }
        Ok(claims)
    }
}

/// Notes in the claim that the pod uses it.
async fn reserve(client: &Client, key: &Key, pod: &PodInfo) -> Result<(), Error> {
    let api = Api::<ResourceClaim>::namespaced(client.clone(), &key.namespace);
    for attempt in 1.. {
        let mut claim = api.get(&key.name).await?;
        let status = claim.status.get_or_insert_default();
        let consumers = status.reserved_for.get_or_insert_default();
        if consumers.iter().any(|consumer| consumer.uid == pod.uid) {
            return Ok(());
        }
        consumers.push(ResourceClaimConsumerReference {
            api_group: None,
            name: pod.key().name,
            resource: "pods".into(),
            uid: pod.uid.clone(),
        });
        match api.replace_status(&key.name, &PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
