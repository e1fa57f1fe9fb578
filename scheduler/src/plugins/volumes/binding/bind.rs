//! Writes what was planned, and waits until it is so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_controllers::{
    framework::{Error, Key},
    storage::{
        BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE, annotation, claim_ref, is_meant_for, uid,
        volume_name,
    },
};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep};

use super::plan::Plan;
use crate::objects::Objects;

/// How soon it is looked again, at first and at last.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

/// Binds what `plan` says for a pod on `node`.
/// # Errors
/// The API refuses, or it takes longer than `limit`, or it is undone meanwhile.
pub(super) async fn bind(
    client: &Client,
    objects: &Objects,
    plan: &Plan,
    node: &str,
    limit: Duration,
) -> Result<(), Error> {
    for (claim, volume) in &plan.bindings {
        if let Some(changed) = meant_for(volume, claim) {
            let name = changed.metadata.name.clone().unwrap_or_default();
            Api::all(client.clone()).replace(&name, &PostParams::default(), &changed).await?;
        }
    }
    for (claim, _) in &plan.provisions {
        if annotation(&claim.metadata, SELECTED_NODE) != Some(node) {
            let mut changed = PersistentVolumeClaim::clone(claim);
            let annotations = changed.metadata.annotations.get_or_insert_with(BTreeMap::new);
            annotations.insert(SELECTED_NODE.into(), node.into());
            let key = Key::of(&claim.metadata);
            let api = Api::namespaced(client.clone(), &key.namespace);
            api.replace(&key.name, &PostParams::default(), &changed).await?;
        }
    }
    let end = Instant::now() + limit;
    let mut pause = SOON;
    while !is_bound(objects, plan, node)? {
        if Instant::now() >= end {
            return Err(Error::Incomplete("binding volumes: context deadline exceeded".into()));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LATER);
    }
    Ok(())
}

/// The volume with a reference to the claim; none when it has it already.
fn meant_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let meant = is_meant_for(volume, claim);
    if meant && claim_ref(volume).and_then(uid) == claim.metadata.uid.as_deref() {
        return None;
    }
    let mut changed = volume.clone();
    if !meant {
        let annotations = changed.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
    }
    changed.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    Some(changed)
}

fn is_bound(objects: &Objects, plan: &Plan, node: &str) -> Result<bool, Error> {
    for (claim, volume) in &plan.bindings {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let Some(now) = objects.volumes.get(&Key::cluster(name)) else {
            return Err(failed(format!(
                "failed to check binding: could not find v1.PersistentVolume {name:?}"
            )));
        };
        if is_older(&now.metadata.resource_version, &volume.metadata.resource_version) {
            return Ok(false);
        }
        let referred = claim_ref(&now).and_then(uid).is_some();
        // Before our write is seen it refers to nobody.
        if !referred && now.metadata.resource_version != volume.metadata.resource_version {
            return Err(failed(format!("ClaimRef got reset for pv {name:?}")));
        }
        let claim = claim_now(objects, claim)?;
        if !referred || !is_complete(&claim) {
            return Ok(false);
        }
    }
    for (claim, _) in &plan.provisions {
        let now = claim_now(objects, claim)?;
        if now.metadata.resource_version == claim.metadata.resource_version {
            if annotation(&claim.metadata, SELECTED_NODE) != Some(node) {
                return Ok(false);
            }
        } else if annotation(&now.metadata, SELECTED_NODE) != Some(node) {
            // Whoever makes volumes gave up; another node may be better.
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            return Err(failed(format!("provisioning failed for PVC {name:?}")));
        }
        if !is_complete(&now) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn claim_now(objects: &Objects, claim: &PersistentVolumeClaim) -> Result<Arc<PersistentVolumeClaim>, Error> {
    let key = Key::of(&claim.metadata);
    let now = objects.claims.get(&key);
    now.ok_or_else(|| {
        failed(format!("failed to check binding: could not find v1.PersistentVolumeClaim \"{key}\""))
    })
}

fn is_complete(claim: &PersistentVolumeClaim) -> bool {
    volume_name(claim).is_some() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

fn is_older(one: &Option<String>, other: &Option<String>) -> bool {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    number(one) < number(other)
}

fn failed(text: String) -> Error {
    Error::Incomplete(format!("binding volumes: {text}"))
}
