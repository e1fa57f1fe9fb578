//! Makes the claims of pods' ephemeral volumes.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    framework::{
        Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, controller_of,
        controller_reference, controls,
    },
    storage::ephemeral_claim,
};

const WORKERS: usize = 10;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let pods = setup.reflect::<Pod>();
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let queue = Queue::new();
    let on_pod = queue.clone();
    pods.on_change(move |change| {
        let wanting =
            |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_none() && ephemeral(pod).next().is_some();
        if change.before.is_none() {
            on_pod.extend(change.after.filter(wanting).map(|pod| Key::of(&pod.metadata)));
        }
    });
    let on_claim = queue.clone();
    claims.on_change(move |change| {
        let (Some(gone), None) = (change.before, change.after) else { return };
        let owner = controller_of(&gone.metadata).filter(|owner| owner.kind == "Pod");
        let namespace = gone.metadata.namespace.clone().unwrap_or_default();
        on_claim.extend(owner.map(|owner| Key::namespaced(namespace, owner.name.clone())));
    });
    let controller = EphemeralVolumes {
        client: setup.client.clone(),
        events: setup.recorder("ephemeral_volume", Style::Counted),
        pods: pods.store(),
        claims: claims.store(),
    };
    setup.reconcile("ephemeral-volume-controller", queue, WORKERS, controller);
}

fn ephemeral(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

struct EphemeralVolumes {
    client: Client,
    events: Recorder,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
}

impl Reconcile<Key> for EphemeralVolumes {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.pods.get(key).filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            return Ok(Next::Change);
        };
        for volume in ephemeral(&pod) {
            if let Err(error) = self.make(key, &pod, volume).await {
                let message = format!("ephemeral volume {}: {error}", volume.name);
                self.events.event(&*pod, Severity::Warning, "FailedBinding", message);
                return Err(error);
            }
        }
        Ok(Next::Change)
    }
}

impl EphemeralVolumes {
    async fn make(&self, key: &Key, pod: &Pod, volume: &Volume) -> Result<(), Error> {
        let name = ephemeral_claim(pod, volume);
        if let Some(there) = self.claims.get(&Key::namespaced(key.namespace.clone(), name.clone())) {
            return match controls(&pod.metadata, &there.metadata) {
                true => Ok(()),
                false => Err(Error::Invalid(format!(
                    "PVC {}/{name} was not created for pod {key} (pod is not owner)",
                    key.namespace
                ))),
            };
        }
        let Some(claim) = claim(pod, volume, &name) else { return Ok(()) };
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(_) => Ok(()),
            // The namespace ends, or it will show: the reason stays as it is.
            Err(error) if error.is_namespace_terminating() || error.is_already_exists() => Err(error),
            Err(error) => Err(Error::Invalid(format!("create PVC {name}: {error}"))),
        }
    }
}

/// The claim for `volume` of `pod`.
fn claim(pod: &Pod, volume: &Volume, name: &str) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
    let meta = template.metadata.unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_its_pods() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": "p", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "plain", "emptyDir": {}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
                    "metadata": {"labels": {"x": "y"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow"},
                }}},
            ]},
        }))
        .unwrap();
        let volumes: Vec<&Volume> = ephemeral(&pod).collect();
        assert_eq!(volumes.len(), 1);
        let made = claim(&pod, volumes[0], &ephemeral_claim(&pod, volumes[0])).unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("p-scratch"));
        assert!(controls(&pod.metadata, &made.metadata));
        assert_eq!(made.spec.unwrap().storage_class_name.as_deref(), Some("slow"));
    }
}
