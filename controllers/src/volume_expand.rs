//! Tells of claims that have grown: whoever made the volume enlarges it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style},
    provisioner,
    storage::{PROVISIONED_BY, annotation, claim_phase, claim_ref, grown, request, volume_name},
};

const WORKERS: usize = 2;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let volumes = setup.reflect::<PersistentVolume>();
    let queue = Queue::new();
    let on_claim = queue.clone();
    claims.on_change(move |change| {
        let (Some(before), Some(after)) = (change.before, change.after) else { return };
        if claim_phase(after) == "Bound" && request(after) > request(before) {
            on_claim.add(Key::of(&after.metadata));
        }
    });
    let controller = Expander {
        events: setup.recorder("volume_expand", Style::Counted),
        claims: claims.store(),
        volumes: volumes.store(),
    };
    setup.reconcile("persistentvolume-expander-controller", queue, WORKERS, controller);
}

struct Expander {
    events: Recorder,
    claims: Arc<Store<PersistentVolumeClaim>>,
    volumes: Arc<Store<PersistentVolume>>,
}

impl Reconcile<Key> for Expander {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(claim) = self.claims.get(key).filter(|claim| grown(claim)) else { return Ok(Next::Change) };
        let volume = volume_name(&claim).and_then(|name| self.volumes.get(&Key::cluster(name)));
        let Some(volume) = volume else {
            let name = volume_name(&claim).unwrap_or_default();
            return Err(Error::Invalid(format!("failed to get PV \"{name}\"")));
        };
        if claim_ref(&volume).is_none_or(|reference| reference.uid != claim.metadata.uid) {
            return Err(Error::Invalid(format!(
                "persistent Volume is not bound to PVC being updated : {key}"
            )));
        }
        // Our own enlarges without a word.
        if annotation(&volume.metadata, PROVISIONED_BY) != Some(provisioner::NAME) {
            let message = "waiting for an external controller to expand this PVC";
            let severity = match volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some()) {
                true => Severity::Normal,
                false => Severity::Warning,
            };
            self.events.event(&*claim, severity, "ExternalExpanding", message);
        }
        Ok(Next::Change)
    }
}
