//! Writes what claims get, before the pod is bound, and undoes it.

use std::{sync::Arc, time::Duration};

use coracle_controllers::{
    devices::{EXTENDED, FINALIZER, is_reserved_for},
    framework::{Error, Key},
};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Args,
    cycle::{Cycle, Found, Readiness, is_late, readiness},
    extended::is_unmade,
};
use crate::{objects::Objects, pod::PodInfo};

/// Conflicting writes of a claim that are tried again.
const TRIES: usize = 5;
/// How soon it is looked again whether devices are ready, at first and at last.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(5);

/// What a pod's claims get, and what has been written of it.
pub(super) struct Reserved {
    pub(super) cycle: Arc<Cycle>,
    pub(super) found: Arc<Found>,
    /// The claim for extended resources, once it is made.
    pub(super) made: parking_lot::Mutex<Option<Arc<ResourceClaim>>>,
}

impl Reserved {
    /// The claims that are decided on, as they will be.
    pub(super) fn meant(&self) -> Vec<Arc<ResourceClaim>> {
        let lacking = self.cycle.lacking().zip(&self.found.allocations);
        let with = lacking.map(|((_, claim), allocation)| {
            let claim = match &self.found.extended {
                Some(extended) if is_unmade(claim) => extended,
                _ => claim,
            };
            let mut claim = ResourceClaim::clone(claim);
            claim.status.get_or_insert_default().allocation = Some(allocation.clone());
            Arc::new(claim)
        });
        with.collect()
    }

    /// Writes all of it, and waits until the devices are ready. Returns the
    /// claims as they are then.
    pub(super) async fn write(
        &self,
        client: &Client,
        objects: &Objects,
        pod: &PodInfo,
    ) -> Result<Vec<Arc<ResourceClaim>>, Error> {
        let mut allocations = self.found.allocations.iter();
        let mut written = Vec::new();
        for claim in &self.cycle.claims {
            let lacks = !coracle_controllers::devices::is_allocated(claim);
            let allocation = if lacks { allocations.next() } else { None };
            if is_reserved_for(claim, &pod.uid) {
                written.push(claim.clone());
                continue;
            }
            let extended = self.cycle.extended().is_some_and(|extended| Arc::ptr_eq(extended, claim));
            if extended && self.found.mappings.is_empty() {
                continue;
            }
            let claim = match is_unmade(claim) {
                true => self.make(client, objects).await?,
                false => claim.clone(),
            };
            let done = Arc::new(take(client, claim, allocation, objects, pod).await?);
            objects.ledger.wrote(&objects.resource_claims, done.clone());
            if extended {
                *self.made.lock() = Some(done.clone());
                self.tell(client, pod, &done).await?;
            }
            written.push(done);
        }
        Ok(written)
    }

    async fn make(&self, client: &Client, objects: &Objects) -> Result<Arc<ResourceClaim>, Error> {
        let Some(claim) = &self.found.extended else {
            return Err(Error::Invalid("extended resource claim not found".to_owned()));
        };
        let mut claim = ResourceClaim::clone(claim);
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        (claim.metadata.name, claim.metadata.uid, claim.status) = (None, None, None);
        let api = Api::<ResourceClaim>::namespaced(client.clone(), &namespace);
        let made = api.create(&PostParams::default(), &claim).await.map_err(Error::from);
        let made = made.map_err(|error| said("create claim for extended resources", error))?;
        let made = Arc::new(made);
        objects.ledger.wrote(&objects.resource_claims, made.clone());
        *self.made.lock() = Some(made.clone());
        Ok(made)
    }

    /// Tells in the pod's status which devices its extended resources are.
    async fn tell(&self, client: &Client, pod: &PodInfo, claim: &ResourceClaim) -> Result<(), Error> {
        let status = json!({"extendedResourceClaimStatus": {
            "requestMappings": self.found.mappings, "resourceClaimName": claim.metadata.name}});
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        let key = pod.key();
        let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
        let done = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        done.map_err(|error| said(&format!("update pod {key} ExtendedResourceClaimStatus"), error.into()))?;
        Ok(())
    }
}

fn said(what: &str, error: Error) -> Error {
    Error::Incomplete(format!("{what}: {error}"))
}

/// Writes what the claim gets, and that the pod uses it.
async fn take(
    client: &Client,
    claim: Arc<ResourceClaim>,
    allocation: Option<&AllocationResult>,
    objects: &Objects,
    pod: &PodInfo,
) -> Result<ResourceClaim, Error> {
    let key = Key::of(&claim.metadata);
    let api = Api::<ResourceClaim>::namespaced(client.clone(), &key.namespace);
    let mut claim = ResourceClaim::clone(&claim);
    for attempt in 1.. {
        match take_once(&api, &key, claim, allocation, objects, pod).await {
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            done => return done,
        }
        claim = api
            .get(&key.name)
            .await
            .map_err(|error| said(&format!("get updated claim {key} after conflict"), error.into()))?;
    }
    Err(Error::Incomplete(format!("claim {key} changes too often")))
}

async fn take_once(
    api: &Api<ResourceClaim>,
    key: &Key,
    mut claim: ResourceClaim,
    allocation: Option<&AllocationResult>,
    objects: &Objects,
    pod: &PodInfo,
) -> Result<ResourceClaim, Error> {
    let told = |what: &str, error: kube::Error| match Error::from(error) {
        conflict if conflict.is_conflict() => conflict,
        error => said(&format!("{what} claim {key}"), error),
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Error::Incomplete(format!("claim {key} got deleted in the meantime")));
    }
    if let Some(allocation) = allocation {
        if coracle_controllers::devices::is_allocated(&claim) {
            return Err(Error::Incomplete(format!("claim {key} got allocated elsewhere in the meantime")));
        }
        let finalizers = claim.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            let done = api.replace(&key.name, &PostParams::default(), &claim).await;
            claim = done.map_err(|error| told("add finalizer to", error))?;
        }
        claim.status.get_or_insert_default().allocation = Some(allocation.clone());
    }
    let status = claim.status.get_or_insert_default();
    let Some(allocated) = &mut status.allocation else {
        return Err(Error::Incomplete(format!("claim {key} got deallocated elsewhere in the meantime")));
    };
    let now = || {
        let now = objects.clock.now();
        Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
    };
    allocated.allocation_timestamp.get_or_insert_with(now);
    let consumers = status.reserved_for.get_or_insert_default();
    if !consumers.iter().any(|consumer| consumer.uid == pod.uid) {
        consumers.push(ResourceClaimConsumerReference {
            api_group: None,
            name: pod.key().name,
            resource: "pods".to_owned(),
            uid: pod.uid.clone(),
        });
    }
    let what = if allocation.is_some() { "add allocation and reservation to" } else { "add reservation to" };
    let done = api.replace_status(&key.name, &PostParams::default(), &claim).await;
    done.map_err(|error| told(what, error))
}

/// Waits until the devices of all `claims` are ready.
/// # Errors
/// One will not be, or not soon enough.
pub(super) async fn wait(objects: &Objects, args: &Args, claims: &[Arc<ResourceClaim>]) -> Result<(), Error> {
    let end = Instant::now().checked_add(args.binding_timeout.0);
    let mut pause = SOON;
    loop {
        let mut ready = true;
        for claim in claims {
            let key = Key::of(&claim.metadata);
            let Some(claim) = objects.ledger.get(&objects.resource_claims, &key) else {
                return Err(Error::Incomplete(format!("could not find v1.ResourceClaim \"{key}\"")));
            };
            match readiness(&claim) {
                Readiness::Ready => {}
                Readiness::Failed(why) => return Err(Error::Incomplete(why)),
                Readiness::Waits if is_late(&claim, args, &objects.clock) => {
                    let why = format!("device binding timeout: claim={}", key.name);
                    return Err(Error::Incomplete(why));
                }
                Readiness::Waits => ready = false,
            }
        }
        if ready {
            return Ok(());
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            let why = "device binding timeout: context deadline exceeded".to_owned();
            return Err(Error::Incomplete(why));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LATER);
    }
}

/// Notes in the claim that the pod does not use it any more.
pub(super) async fn let_go(client: &Client, claim: &ResourceClaim, uid: &str) -> Result<(), Error> {
    let patch = json!({"metadata": {"uid": claim.metadata.uid},
        "status": {"reservedFor": [{"$patch": "delete", "uid": uid}]}});
    let key = Key::of(&claim.metadata);
    let api = Api::<ResourceClaim>::namespaced(client.clone(), &key.namespace);
    api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// Gives back the devices of a claim that nobody uses; one that was made for
/// extended resources goes as a whole.
pub(crate) async fn give_back(client: &Client, claim: &ResourceClaim) -> Result<(), Error> {
    let annotations = claim.metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get(EXTENDED)).is_some_and(|value| value == "true") {
        return delete(client, claim).await;
    }
    let key = Key::of(&claim.metadata);
    let mut claim = claim.clone();
    if let Some(status) = &mut claim.status {
        (status.reserved_for, status.allocation, status.devices) = (None, None, None);
    }
    let api = Api::<ResourceClaim>::namespaced(client.clone(), &key.namespace);
    api.replace_status(&key.name, &PostParams::default(), &claim).await?;
    Ok(())
}

/// Deletes a claim that the scheduler made.
pub(super) async fn delete(client: &Client, claim: &ResourceClaim) -> Result<(), Error> {
    let key = Key::of(&claim.metadata);
    let api = Api::<ResourceClaim>::namespaced(client.clone(), &key.namespace);
    let mut claim = claim.clone();
    for attempt in 1.. {
        claim.metadata.finalizers.iter_mut().for_each(|all| all.retain(|finalizer| finalizer != FINALIZER));
        match api.replace(&key.name, &PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_conflict() && attempt < TRIES => claim = api.get(&key.name).await?,
            Err(error) => return Err(said(&format!("update resourceclaim {key}"), error)),
        }
    }
    match api.delete(&key.name, &DeleteParams::default()).await.map_err(Error::from) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
