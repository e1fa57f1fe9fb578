//! Which volume suits a claim. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::{
    framework::matches,
    storage::{capacity, class_of_claim, class_of_volume, is_meant_for, request, volume_phase},
};

/// The volume of `candidates` that suits `claim` best: one that is meant for
/// it, else, unless the claim waits for its consumer, the smallest of those
/// with the fewest access modes.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    candidates: &[Arc<PersistentVolume>],
    waits: bool,
) -> Option<Arc<PersistentVolume>> {
    let suits = |volume: &&Arc<PersistentVolume>| {
        (volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none()) || is_meant_for(volume, claim))
            && volume.metadata.deletion_timestamp.is_none()
            && capacity(volume) >= request(claim)
            && has_same_mode(volume, claim)
            && has_same_attributes(volume, claim)
            && has_access_modes(volume, claim)
    };
    let meant = candidates.iter().filter(suits).find(|volume| is_meant_for(volume, claim));
    if meant.is_some() || waits {
        return meant.cloned();
    }
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let free = |volume: &&Arc<PersistentVolume>| {
        volume_phase(volume) == "Available"
            && class_of_volume(volume) == class_of_claim(claim)
            && selector.is_none_or(|selector| matches(selector, volume.metadata.labels.as_ref()))
    };
    let size = |a: &&Arc<PersistentVolume>, b: &&Arc<PersistentVolume>| {
        let modes = |volume: &PersistentVolume| access_modes(volume).len();
        modes(a)
            .cmp(&modes(b))
            .then_with(|| capacity(a).cmp(&capacity(b)))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    };
    candidates.iter().filter(suits).filter(free).min_by(size).cloned()
}

/// Why `volume`, which the claim names, does not suit it, in upstream's words.
pub(super) fn misfit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion \"{name}\""));
    }
    let reason = if capacity(volume).value() < request(claim).value() {
        "requested PV is too small"
    } else if class_of_volume(volume) != class_of_claim(claim) {
        "storageClassName does not match"
    } else if !has_same_attributes(volume, claim) {
        "volumeAttributesClassName does not match"
    } else if !has_same_mode(volume, claim) {
        "incompatible volumeMode"
    } else if !has_access_modes(volume, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// True when both are file systems, or both block devices.
pub(super) fn has_same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    of_volume.unwrap_or("Filesystem") == of_claim.unwrap_or("Filesystem")
}

fn has_same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    of_volume.unwrap_or_default() == of_claim.unwrap_or_default()
}

fn access_modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let asked = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    asked.iter().all(|mode| access_modes(volume).contains(mode))
}
