//! A claim stays while a pod uses it; since when none does is told in its
//! status.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod, Volume};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{Protection, changed, protection};
use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent, controls},
    pod,
    storage::{BY_CLAIM, claim_phase, claims_of, ephemeral_claim, index_by_claim},
};

const WORKERS: usize = 4;
const FINALIZER: &str = "kubernetes.io/pvc-protection";
const UNUSED: &str = "Unused";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let pods = setup.reflect::<Pod>();
    index_by_claim(&pods.store());
    let queue = Queue::new();
    let on_claim = queue.clone();
    claims.on_change(move |change| on_claim.extend(change.after.map(|claim| Key::of(&claim.metadata))));
    let on_pod = queue.clone();
    pods.on_change(move |change| {
        let Some(pod) = change.sides().last() else { return };
        let state = |pod: &Arc<Pod>| {
            (
                pod.metadata.uid.clone(),
                pod::is_terminal(pod),
                pod::node(pod).map(str::to_owned),
                is_shut_down(pod),
            )
        };
        if change.before.map(state) == change.after.map(state) {
            return;
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        on_pod.extend(claims_of(pod).map(|name| Key::namespaced(namespace.clone(), name)));
    });
    let controller = Claims {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        claims: claims.store(),
        pods: pods.store(),
    };
    setup.reconcile("persistentvolumeclaim-protection-controller", queue, WORKERS, controller);
}

struct Claims {
    client: Client,
    clock: Clock,
    claims: Arc<Store<PersistentVolumeClaim>>,
    pods: Arc<Store<Pod>>,
}

impl Reconcile<Key> for Claims {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(Next::Change) };
        let with = match protection(&claim.metadata, FINALIZER) {
            Protection::None => {
                self.tell_use(key, &claim).await?;
                return Ok(Next::Change);
            }
            Protection::Remove if self.is_used(key, &claim).await? => return Ok(Next::Change),
            wanted => wanted == Protection::Add,
        };
        let meta = &claim.metadata;
        let patch = Patch::Merge(json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version,
            "finalizers": changed(meta, FINALIZER, with),
        }}));
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        absent(api.patch_metadata(&key.name, &PatchParams::default(), &patch).await)?;
        Ok(Next::Change)
    }
}

impl Claims {
    /// Asks live too: a pod may have come that the copy does not show.
    async fn is_used(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let seen = self.pods.indexed(BY_CLAIM, &key.to_string());
        if seen.iter().any(|pod| holds(pod, claim)) {
            return Ok(true);
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let live = api.list(&ListParams::default()).await?;
        Ok(live.items.iter().any(|pod| holds(pod, claim)))
    }

    async fn tell_use(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        if claim.metadata.deletion_timestamp.is_some() || claim_phase(claim) != "Bound" {
            return Ok(());
        }
        let used = self.pods.indexed(BY_CLAIM, &key.to_string()).iter().any(|pod| refers(pod, claim));
        let known = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let status = if used { "False" } else { "True" };
        if known.clone().any(|condition| condition.type_ == UNUSED && condition.status == status) {
            return Ok(());
        }
        let (reason, message) = match used {
            true => ("PodUsingPVC", "A pod is currently referencing this PVC"),
            false => ("NoPodsUsingPVC", "No pods are currently referencing this PVC"),
        };
        let condition = PersistentVolumeClaimCondition {
            type_: UNUSED.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_transition_time: Some(self.clock.time()),
            last_probe_time: None,
        };
        let mut changed = claim.clone();
        let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
        match conditions.iter_mut().find(|known| known.type_ == UNUSED) {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        absent(api.replace_status(&key.name, &PostParams::default(), &changed).await).map(drop)
    }
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

fn names(volume: &Volume, claim: &PersistentVolumeClaim) -> bool {
    let source = volume.persistent_volume_claim.as_ref();
    source.is_some_and(|source| Some(&source.claim_name) == claim.metadata.name.as_ref())
}

fn owns(pod: &Pod, volume: &Volume, claim: &PersistentVolumeClaim) -> bool {
    volume.ephemeral.is_some()
        && Some(ephemeral_claim(pod, volume)) == claim.metadata.name
        && controls(&pod.metadata, &claim.metadata)
}

/// True when the claim must not go under the pod: a pod that has a node. One
/// that has none yet will not start with a claim that is being deleted.
fn holds(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    pod::node(pod).is_some()
        && volumes(pod).any(|volume| names(volume, claim) || (!is_shut_down(pod) && owns(pod, volume, claim)))
}

/// True when the pod runs, or will, and uses the claim.
fn refers(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    !has_ended(pod) && volumes(pod).any(|volume| names(volume, claim) || owns(pod, volume, claim))
}

fn has_ended(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let running = statuses.unwrap_or_default().iter().any(|container| {
        container.state.as_ref().is_some_and(|s| s.terminated.is_none() && s.waiting.is_none())
    });
    pod::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !running)
}

fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn who_uses_a_claim() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {
            "namespace": "a", "name": "p-data",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}],
        }}))
        .unwrap();
        let check = |node: &str, volume: Value, change: Value, held: bool, referred: bool| {
            let mut pod = json!({
                "metadata": {"namespace": "a", "name": "p", "uid": "u"},
                "spec": {"nodeName": node, "containers": [], "volumes": [volume]},
            });
            for (key, value) in change.as_object().unwrap() {
                pod[key]
                    .as_object_mut()
                    .map_or_else(|| (), |map| map.extend(value.as_object().unwrap().clone()));
                if pod[key].is_null() {
                    pod[key] = value.clone();
                }
            }
            let parsed: Pod = serde_json::from_value(pod.clone()).unwrap();
            assert_eq!((holds(&parsed, &claim), refers(&parsed, &claim)), (held, referred), "{pod}");
        };
        let named = || json!({"name": "data", "persistentVolumeClaim": {"claimName": "p-data"}});
        let ephemeral = || json!({"name": "data", "ephemeral": {}});
        let shut = || json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}});
        check("n", named(), json!({}), true, true);
        check("", named(), json!({}), false, true);
        check("n", json!({"name": "data", "emptyDir": {}}), json!({}), false, false);
        check("n", ephemeral(), json!({}), true, true);
        check("n", ephemeral(), shut(), false, false);
        check("n", named(), shut(), true, false);
        check("n", named(), json!({"status": {"phase": "Succeeded"}}), true, false);
    }
}
