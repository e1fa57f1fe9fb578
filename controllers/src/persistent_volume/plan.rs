//! What becomes of a claim, and of a volume. Pure.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};

use super::matching::{has_same_mode, misfit};
use crate::{
    framework::Severity,
    storage::{
        BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONED_BY, SELECTED_NODE, annotation, asked_class,
        claim_ref, class_of_claim, is_meant_for, uid, volume_name, waits_for_consumer,
    },
};

/// Something to tell the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Note {
    pub(super) fn new(severity: Severity, reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity, reason, message: message.into() }
    }
}

/// What is known when a claim is looked at.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The volume that it names.
    pub(super) volume: Option<Arc<PersistentVolume>>,
    /// The volume that suits it best.
    pub(super) best: Option<Arc<PersistentVolume>>,
    /// Its class.
    pub(super) class: Option<Arc<StorageClass>>,
    /// The class that it would get.
    pub(super) default_class: Option<String>,
    /// The pods that use it and have no node yet.
    pub(super) waiting: Vec<String>,
}

/// What is to be done with a claim.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimStep {
    /// It gets this volume.
    Bind(Arc<PersistentVolume>),
    /// It gets a class.
    AssignClass(String),
    /// Somebody with this name is to make a volume.
    Provision(String),
    /// It has no volume.
    Wait(Option<Note>),
    /// It has no volume, which only a change of its class will mend.
    Tell(Note),
    /// It has lost its volume.
    Lose(Note),
    /// Its volume has gone to another; tried again.
    Retry(Note),
}

/// Decides for a claim.
pub(super) fn claim(claim: &PersistentVolumeClaim, around: Around) -> ClaimStep {
    if annotation(&claim.metadata, BIND_COMPLETED).is_some() {
        return bound_claim(claim, around);
    }
    if volume_name(claim).is_none() {
        return unnamed(claim, around);
    }
    let Some(volume) = around.volume else { return ClaimStep::Wait(None) };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if claim_ref(&volume).is_none() {
        return match misfit(&volume, claim) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                ClaimStep::Wait(Some(Note::new(Severity::Warning, "VolumeMismatch", message)))
            }
            None => ClaimStep::Bind(volume),
        };
    }
    if is_meant_for(&volume, claim) {
        return ClaimStep::Bind(volume);
    }
    let message = format!("volume \"{name}\" already bound to a different claim.");
    let note = Note::new(Severity::Warning, "FailedBinding", message);
    match annotation(&claim.metadata, BOUND_BY_CONTROLLER) {
        None => ClaimStep::Wait(Some(note)),
        Some(_) => ClaimStep::Retry(note),
    }
}

fn bound_claim(claim: &PersistentVolumeClaim, around: Around) -> ClaimStep {
    let lose = |reason, message: &str| ClaimStep::Lose(Note::new(Severity::Warning, reason, message));
    if volume_name(claim).is_none() {
        return lose(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let Some(volume) = around.volume else {
        return lose("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match claim_ref(&volume) {
        Some(reference) if reference.uid != claim.metadata.uid => {
            lose("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
        _ => ClaimStep::Bind(volume),
    }
}

fn unnamed(claim: &PersistentVolumeClaim, around: Around) -> ClaimStep {
    if let Some(best) = around.best {
        return ClaimStep::Bind(best);
    }
    if let Some(class) = around.default_class.filter(|_| asked_class(claim).is_none()) {
        return ClaimStep::AssignClass(class);
    }
    let waits = around.class.as_deref().is_some_and(waits_for_consumer);
    if waits && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        let note = match around.waiting.as_slice() {
            [] => Note::new(
                Severity::Normal,
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
            ),
            [one] => Note::new(
                Severity::Normal,
                "WaitForPodScheduled",
                format!("waiting for pod {one} to be scheduled"),
            ),
            many => Note::new(
                Severity::Normal,
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", many.join(",")),
            ),
        };
        return ClaimStep::Wait(Some(note));
    }
    let class = class_of_claim(claim);
    if class.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return ClaimStep::Wait(Some(Note::new(Severity::Normal, "FailedBinding", message)));
    }
    let failed = |message| ClaimStep::Tell(Note::new(Severity::Warning, "ProvisioningFailed", message));
    match around.class {
        None => failed(format!("storageclass.storage.k8s.io \"{class}\" not found")),
        // Nothing in tree makes volumes any more.
        Some(class) if class.provisioner.starts_with("kubernetes.io/") => {
            failed(format!("no volume plugin matched name: {}", class.provisioner))
        }
        Some(class) => ClaimStep::Provision(class.provisioner.clone()),
    }
}

/// What is to be done with a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    /// It is free.
    Offer,
    /// Its claim is to be looked at.
    Ask,
    /// It cannot be its claim's.
    Mismatch,
    /// It is its claim's.
    Confirm,
    /// Its claim is gone.
    Release,
    /// Its claim has another.
    Unbind,
}

/// Decides for a volume; `claim` is what its reference leads to.
pub(super) fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> VolumeStep {
    let Some(reference) = claim_ref(volume) else { return VolumeStep::Offer };
    let Some(wanted) = uid(reference) else { return VolumeStep::Offer };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(wanted)) else {
        return VolumeStep::Release;
    };
    match volume_name(claim) {
        None if !has_same_mode(volume, claim) => VolumeStep::Mismatch,
        None => VolumeStep::Ask,
        Some(name) if Some(name) == volume.metadata.name.as_deref() => VolumeStep::Confirm,
        // Made for a claim that took another: nobody else is to have it.
        Some(_) if annotation(&volume.metadata, PROVISIONED_BY).is_some() && policy(volume) == "Delete" => {
            VolumeStep::Release
        }
        Some(_) => VolumeStep::Unbind,
    }
}

/// What becomes of the volume when its claim is gone.
pub(super) fn policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

/// What is to be done with a volume whose claim is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// Nothing, or somebody else does it.
    Leave,
    /// The directory of a host goes, and then the volume.
    DeleteDirectory(String),
    /// It cannot be.
    Fail(Note),
}

/// Decides for a released volume that `users`, pods, still use.
pub(super) fn reclaim(volume: &PersistentVolume, users: &[String]) -> Reclaim {
    let fail = |reason, message: String| Reclaim::Fail(Note::new(Severity::Warning, reason, message));
    match policy(volume) {
        "Retain" => Reclaim::Leave,
        "Recycle" if !users.is_empty() => Reclaim::Leave,
        "Recycle" => fail("VolumeFailedRecycle", "No recycler plugin found for the volume!".into()),
        "Delete" => deletion(volume),
        _ => {
            fail("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy".into())
        }
    }
}

fn deletion(volume: &PersistentVolume) -> Reclaim {
    let fail = |message: String| Reclaim::Fail(Note::new(Severity::Warning, "VolumeFailedDelete", message));
    let spec = volume.spec.as_ref();
    match annotation(&volume.metadata, PROVISIONED_BY).filter(|by| !by.is_empty()) {
        Some(by) if by.starts_with("kubernetes.io/") => {
            return fail(format!("no deletable volume plugin matched name: {by}"));
        }
        Some(_) => return Reclaim::Leave,
        None if spec.is_some_and(|spec| spec.csi.is_some()) => return Reclaim::Leave,
        None => {}
    }
    let path = spec.and_then(|spec| spec.host_path.as_ref()).map(|host_path| host_path.path.as_str());
    match path {
        Some(path) if is_below_tmp(path) => Reclaim::DeleteDirectory(path.to_owned()),
        Some(path) => fail(format!("host_path deleter only supports /tmp/.+ but received provided {path}")),
        None => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            fail(format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            ))
        }
    }
}

/// True when `path` is something in `/tmp`, and no way back up leads out of there.
fn is_below_tmp(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/tmp/") else { return false };
    rest.split('/').any(|part| !matches!(part, "" | ".")) && rest.split('/').all(|part| part != "..")
}
