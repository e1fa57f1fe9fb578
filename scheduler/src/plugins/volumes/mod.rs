//! What a pod's volumes ask of nodes: `restrictions.rs`, `limits.rs`,
//! `zone.rs`, and `binding/`, which also binds them.

mod binding;
mod limits;
mod restrictions;
mod zone;

use std::sync::Arc;

use coracle_controllers::{framework::Key, storage::ephemeral_claim};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

use crate::{objects::Objects, plugin::Rejection, pod::PodInfo};

pub(super) use binding::VolumeBinding;
pub(super) use limits::NodeVolumeLimits;
pub(super) use restrictions::VolumeRestrictions;
pub(super) use zone::VolumeZone;

fn volumes(pod: &PodInfo) -> &[Volume] {
    pod.spec().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

fn namespace(pod: &PodInfo) -> &str {
    pod.pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// The claim called `name` in the pod's namespace.
fn claim(pod: &PodInfo, name: &str, objects: &Objects) -> Option<Arc<PersistentVolumeClaim>> {
    objects.claims.get(&Key::namespaced(namespace(pod), name))
}

/// The claim that a volume names, and whether it is made for the pod.
fn claim_name(pod: &PodInfo, volume: &Volume) -> Option<(String, bool)> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), false)),
        (None, Some(_)) => Some((ephemeral_claim(&pod.pod, volume), true)),
        (None, None) => None,
    }
}

/// That a claim, which should be made for the pod, is somebody else's.
fn foreign(pod: &Pod, claim: &PersistentVolumeClaim) -> Option<String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    let own = controllers.any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
    let name = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", part(&meta.namespace), part(&meta.name))
    };
    (!own).then(|| {
        format!(
            "PVC {} was not created for pod {} (pod is not owner)",
            name(&claim.metadata),
            name(&pod.metadata)
        )
    })
}

fn not_found(what: &str, name: &str) -> Rejection {
    Rejection::unresolvable(format!("{what} {name:?} not found"))
}
