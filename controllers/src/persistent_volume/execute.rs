//! Writes what was decided, each write on the version that was looked at.

use std::{path::Path, sync::Arc};

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    Binder, TRY_AGAIN,
    plan::{Note, Reclaim, reclaim},
};
use crate::{
    framework::{Error, Key, Next, Severity, absent},
    pod,
    storage::{
        BETA_STORAGE_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, BY_CLAIM, STORAGE_PROVISIONER,
        annotation, claim_phase, claim_ref, is_meant_for, key_of, volume_name, volume_phase,
    },
};

impl Binder {
    fn claim_api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    fn volume_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    pub(super) fn tell(&self, claim: &PersistentVolumeClaim, note: Option<&Note>) {
        if let Some(Note { severity, reason, message }) = note {
            self.events.event(claim, *severity, reason, message.clone());
        }
    }

    /// Four writes: the volume, its phase, the claim, its status. Whatever
    /// is done already is not written; after a failure it goes on from there.
    pub(super) async fn bind(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &Arc<PersistentVolume>,
    ) -> Result<(), Error> {
        let volume = self.bind_volume(volume, claim).await?;
        let volume = self.set_volume_phase(&volume, "Bound", "").await?;
        let claim = self.bind_claim(claim, &volume).await?;
        self.set_claim_status(&claim, "Bound", Some(&volume)).await.map(drop)
    }

    async fn bind_volume(
        &self,
        volume: &Arc<PersistentVolume>,
        claim: &PersistentVolumeClaim,
    ) -> Result<Arc<PersistentVolume>, Error> {
        let mut bound = PersistentVolume::clone(volume);
        let meta = &claim.metadata;
        let same = claim_ref(volume).is_some_and(|reference| {
            reference.name == meta.name && reference.namespace == meta.namespace && reference.uid == meta.uid
        });
        if !is_meant_for(volume, claim) {
            let annotations = bound.metadata.annotations.get_or_insert_default();
            annotations.entry(BOUND_BY_CONTROLLER.to_owned()).or_insert_with(|| "yes".to_owned());
        }
        if !same {
            bound.spec.get_or_insert_default().claim_ref = Some(reference(claim));
        }
        if bound == **volume {
            return Ok(volume.clone());
        }
        self.replace_volume(&bound).await
    }

    async fn replace_volume(&self, volume: &PersistentVolume) -> Result<Arc<PersistentVolume>, Error> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let written = self.volume_api().replace(name, &PostParams::default(), volume).await?;
        Ok(self.volumes.wrote(written))
    }

    pub(super) async fn set_volume_phase(
        &self,
        volume: &Arc<PersistentVolume>,
        phase: &str,
        message: &str,
    ) -> Result<Arc<PersistentVolume>, Error> {
        if volume_phase(volume) == phase {
            return Ok(volume.clone());
        }
        let mut changed = PersistentVolume::clone(volume);
        let status = changed.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
        let name = changed.metadata.name.as_deref().unwrap_or_default();
        let written = self.volume_api().replace_status(name, &PostParams::default(), &changed).await?;
        Ok(self.volumes.wrote(written))
    }

    async fn bind_claim(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<PersistentVolumeClaim, Error> {
        let mut bound = claim.clone();
        let name = volume.metadata.name.as_deref();
        if volume_name(claim) != name {
            bound.spec.get_or_insert_default().volume_name = name.map(str::to_owned);
            let annotations = bound.metadata.annotations.get_or_insert_default();
            annotations.entry(BOUND_BY_CONTROLLER.to_owned()).or_insert_with(|| "yes".to_owned());
        }
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.entry(BIND_COMPLETED.to_owned()).or_insert_with(|| "yes".to_owned());
        if bound == *claim {
            return Ok(bound);
        }
        self.replace_claim(&bound).await
    }

    async fn replace_claim(&self, claim: &PersistentVolumeClaim) -> Result<PersistentVolumeClaim, Error> {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let written = self.claim_api(claim).replace(name, &PostParams::default(), claim).await?;
        Ok(PersistentVolumeClaim::clone(&self.claims.wrote(written)))
    }

    /// Writes the claim's phase, and what it has of `volume`.
    pub(super) async fn set_claim_status(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), Error> {
        let Some(changed) = with_status(claim, phase, volume) else { return Ok(()) };
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let written = self.claim_api(claim).replace_status(name, &PostParams::default(), &changed).await?;
        self.claims.wrote(written);
        Ok(())
    }

    pub(super) async fn lose(&self, claim: &PersistentVolumeClaim, note: &Note) -> Result<(), Error> {
        if claim_phase(claim) == "Lost" {
            return Ok(());
        }
        self.set_claim_status(claim, "Lost", None).await?;
        self.tell(claim, Some(note));
        Ok(())
    }

    pub(super) async fn assign_class(
        &self,
        claim: &PersistentVolumeClaim,
        class: String,
    ) -> Result<(), Error> {
        let mut changed = claim.clone();
        changed.spec.get_or_insert_default().storage_class_name = Some(class);
        self.replace_claim(&changed).await.map(drop)
    }

    /// Leaves the claim to the provisioner called `by`.
    pub(super) async fn ask_provisioner(&self, claim: &PersistentVolumeClaim, by: &str) -> Result<(), Error> {
        if annotation(&claim.metadata, STORAGE_PROVISIONER) != Some(by) {
            let mut changed = claim.clone();
            let annotations = changed.metadata.annotations.get_or_insert_default();
            for key in [BETA_STORAGE_PROVISIONER, STORAGE_PROVISIONER] {
                annotations.insert(key.to_owned(), by.to_owned());
            }
            self.replace_claim(&changed).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{by}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.events.event(claim, Severity::Normal, "ExternalProvisioning", message);
        Ok(())
    }

    /// Lets a volume go whose claim has another.
    pub(super) async fn unbind(&self, volume: &Arc<PersistentVolume>) -> Result<(), Error> {
        let mut free = PersistentVolume::clone(volume);
        let annotations = free.metadata.annotations.get_or_insert_default();
        let by_controller = annotations.remove(BOUND_BY_CONTROLLER).is_some();
        let spec = free.spec.get_or_insert_default();
        match &mut spec.claim_ref {
            // The user meant it for a claim of that name: it stays so.
            Some(reference) if !by_controller => reference.uid = None,
            reference => *reference = None,
        }
        let written = self.replace_volume(&free).await?;
        self.set_volume_phase(&written, "Available", "").await.map(drop)
    }

    /// The claim is gone: what becomes of the volume is for its policy to say.
    pub(super) async fn release(&self, volume: &Arc<PersistentVolume>) -> Result<Next, Error> {
        let ended = matches!(volume_phase(volume), "Released" | "Failed");
        let volume = match ended {
            true => volume.clone(),
            false => self.set_volume_phase(volume, "Released", "").await?,
        };
        let users = self.users(&volume);
        match reclaim(&volume, &users) {
            Reclaim::Leave if users.is_empty() || super::plan::policy(&volume) != "Recycle" => {}
            Reclaim::Leave => {
                let message = format!("Volume is used by pods: {}", users.join(","));
                self.events.event(&*volume, Severity::Normal, "VolumeFailedRecycle", message);
                return Ok(Next::After(TRY_AGAIN));
            }
            Reclaim::Fail(note) => self.fail(&volume, &note).await?,
            Reclaim::DeleteDirectory(path) => return self.delete_directory(&volume, &path).await,
        }
        Ok(Next::Change)
    }

    fn users(&self, volume: &PersistentVolume) -> Vec<String> {
        let Some(reference) = claim_ref(volume) else { return Vec::new() };
        let pods = self.pods.indexed(BY_CLAIM, &key_of(reference).to_string());
        let alive = pods.iter().filter(|pod| !pod::is_terminal(pod));
        alive.map(|pod| Key::of(&pod.metadata).to_string()).collect()
    }

    async fn fail(&self, volume: &Arc<PersistentVolume>, note: &Note) -> Result<(), Error> {
        if volume_phase(volume) == "Failed" {
            return Ok(());
        }
        let failed = self.set_volume_phase(volume, "Failed", &note.message).await?;
        self.events.event(&*failed, note.severity, note.reason, note.message.clone());
        Ok(())
    }

    async fn delete_directory(&self, volume: &Arc<PersistentVolume>, path: &str) -> Result<Next, Error> {
        // The claim may be there after all, or the volume may be another by now.
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let Some(live) = absent(self.volume_api().get(name).await)? else { return Ok(Next::Change) };
        if live.metadata.uid != volume.metadata.uid || claim_ref(&live) != claim_ref(volume) {
            return Ok(Next::Change);
        }
        if let Err(error) = remove(Path::new(path)).await {
            let note = Note::new(Severity::Warning, "VolumeFailedDelete", error.to_string());
            self.fail(volume, &note).await?;
            return Ok(Next::After(TRY_AGAIN));
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: volume.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        absent(self.volume_api().delete(name, &params).await)?;
        Ok(Next::Change)
    }
}

/// Removes what is at `path`; nothing there is as good.
async fn remove(path: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The reference that a volume has of its claim.
fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// The claim with its status, when that differs.
pub(super) fn with_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Option<PersistentVolumeClaim> {
    let mut changed = claim.clone();
    let status = changed.status.get_or_insert_default();
    let turns = status.phase.as_deref() != Some(phase);
    let was_pending = status.phase.as_deref() == Some("Pending");
    status.phase = Some(phase.to_owned());
    match volume.and_then(|volume| volume.spec.as_ref()) {
        None => {
            status.access_modes = None;
            status.capacity = None;
            status.current_volume_attributes_class_name = None;
        }
        Some(spec) => {
            status.access_modes.clone_from(&spec.access_modes);
            // Later it is for who resizes to say.
            if turns {
                status.capacity.clone_from(&spec.capacity);
            }
            if was_pending && phase == "Bound" {
                status.current_volume_attributes_class_name.clone_from(&spec.volume_attributes_class_name);
            }
        }
    }
    (claim.status.clone().unwrap_or_default() != changed.status.clone().unwrap_or_default())
        .then_some(changed)
}
