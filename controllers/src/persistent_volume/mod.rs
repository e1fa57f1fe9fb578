//! Brings claims and volumes together, and takes volumes back.
//!
//! [`plan`] decides for one claim or volume, [`matching`] finds the volume,
//! [`execute`] writes. Every write is of the version that was looked at, so
//! that a volume never has two claims.

mod execute;
mod latest;
mod matching;
mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{Api, Client};

use self::{
    latest::Latest,
    plan::{Around, ClaimStep, VolumeStep},
};
use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent},
    pod,
    storage::{
        BIND_COMPLETED, BY_CLAIM, Work, annotation, claim_ref, class_of_claim, class_of_volume,
        default_class, index_by_claim, key_of, uid, volume_name, volume_phase, waits_for_consumer,
    },
};

const WORKERS: usize = 8;
/// The index of claims that have no volume yet, by class.
const UNBOUND: &str = "unbound";
/// The index of volumes by what they offer: `class NAME`, or `claim NAMESPACE/NAME`.
const OFFER: &str = "offer";
/// What failed on the way to a volume's deletion is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let volumes = setup.reflect::<PersistentVolume>();
    let classes = setup.reflect::<StorageClass>();
    let pods = setup.reflect::<Pod>();
    index_by_claim(&pods.store());
    claims.store().index(UNBOUND, unbound_in);
    volumes.store().index(OFFER, offers);
    let queue = Queue::new();
    let on_claim = queue.clone();
    claims.on_change(move |change| {
        let Some(claim) = change.sides().last() else { return };
        on_claim.add(Work::Claim(Key::of(&claim.metadata)));
        let named = change.sides().filter_map(|claim| volume_name(claim));
        on_claim.extend(named.map(|name| Work::Volume(Key::cluster(name))));
    });
    let (on_volume, waiting) = (queue.clone(), claims.store());
    volumes.on_change(move |change| {
        let Some(volume) = change.sides().last() else { return };
        on_volume.add(Work::Volume(Key::of(&volume.metadata)));
        match (claim_ref(volume), change.after) {
            (Some(reference), _) => on_volume.add(Work::Claim(key_of(reference))),
            (None, Some(volume)) if volume_phase(volume) == "Available" => {
                let suited = waiting.indexed(UNBOUND, class_of_volume(volume));
                on_volume.extend(suited.iter().map(|claim| Work::Claim(Key::of(&claim.metadata))));
            }
            _ => {}
        }
    });
    let (on_class, waiting) = (queue.clone(), claims.store());
    classes.on_change(move |change| {
        let Some(class) = change.after else { return };
        // Those of the class, and those that have none yet.
        for name in [class.metadata.name.as_deref().unwrap_or_default(), ""] {
            let claims = waiting.indexed(UNBOUND, name);
            on_class.extend(claims.iter().map(|claim| Work::Claim(Key::of(&claim.metadata))));
        }
    });
    let binder = Binder {
        client: setup.client.clone(),
        events: setup.recorder("persistentvolume-controller", Style::Counted),
        queue: queue.clone(),
        claims: Latest::new(claims.store()),
        volumes: Latest::new(volumes.store()),
        classes: classes.store(),
        pods: pods.store(),
    };
    setup.reconcile("persistentvolume-binder-controller", queue, WORKERS, binder);
}

fn unbound_in(claim: &PersistentVolumeClaim) -> Vec<String> {
    match annotation(&claim.metadata, BIND_COMPLETED) {
        None => vec![class_of_claim(claim).to_owned()],
        Some(_) => Vec::new(),
    }
}

fn offers(volume: &PersistentVolume) -> Vec<String> {
    match claim_ref(volume) {
        Some(reference) => vec![format!("claim {}", key_of(reference))],
        None => vec![format!("class {}", class_of_volume(volume))],
    }
}

struct Binder {
    client: Client,
    events: Recorder,
    queue: Queue<Work>,
    claims: Latest<PersistentVolumeClaim>,
    volumes: Latest<PersistentVolume>,
    classes: Arc<Store<StorageClass>>,
    pods: Arc<Store<Pod>>,
}

impl Reconcile<Work> for Binder {
    async fn reconcile(&self, work: &Work) -> Result<Next, Error> {
        match work {
            Work::Claim(key) => match self.claims.get(key) {
                Some(claim) => self.sync_claim(key, &claim).await.map(|()| Next::Change),
                None => Ok(Next::Change),
            },
            Work::Volume(key) => match self.volumes.get(key) {
                Some(volume) => self.sync_volume(&volume).await,
                None => Ok(Next::Change),
            },
        }
    }
}

impl Binder {
    async fn sync_claim(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        match plan::claim(claim, self.around(key, claim)) {
            ClaimStep::Bind(volume) => self.bind(claim, &volume).await,
            ClaimStep::AssignClass(class) => self.assign_class(claim, class).await,
            ClaimStep::Provision(by) => self.ask_provisioner(claim, &by).await,
            ClaimStep::Wait(note) => {
                self.tell(claim, note.as_ref());
                self.set_claim_status(claim, "Pending", None).await.map(drop)
            }
            ClaimStep::Tell(note) => {
                self.tell(claim, Some(&note));
                Ok(())
            }
            ClaimStep::Lose(note) => self.lose(claim, &note).await,
            ClaimStep::Retry(note) => {
                self.tell(claim, Some(&note));
                Err(Error::Invalid(format!("{key}: {}", note.message)))
            }
        }
    }

    fn around(&self, key: &Key, claim: &PersistentVolumeClaim) -> Around {
        if let Some(name) = volume_name(claim) {
            return Around { volume: self.volumes.get(&Key::cluster(name)), ..Around::default() };
        }
        if annotation(&claim.metadata, BIND_COMPLETED).is_some() {
            return Around::default();
        }
        let name = class_of_claim(claim);
        let class = self.classes.get(&Key::cluster(name)).filter(|_| !name.is_empty());
        let waits = class.as_deref().is_some_and(waits_for_consumer);
        let mut candidates = self.volumes.indexed(OFFER, &format!("claim {key}"));
        if !waits {
            candidates.extend(self.volumes.indexed(OFFER, &format!("class {name}")));
        }
        let best = matching::best(claim, &candidates, waits);
        let default_class = match best {
            None => default_class(&self.classes.all()).and_then(|class| class.metadata.name.clone()),
            Some(_) => None,
        };
        let users = self.pods.indexed(BY_CLAIM, &key.to_string());
        let waiting = users
            .iter()
            .filter(|pod| !pod::is_terminal(pod) && pod::node(pod).is_none())
            .filter_map(|pod| pod.metadata.name.clone())
            .collect();
        Around { volume: None, best, class, default_class, waiting }
    }

    async fn sync_volume(&self, volume: &Arc<PersistentVolume>) -> Result<Next, Error> {
        let claim = self.claim_of(volume).await?;
        match plan::volume(volume, claim.as_deref()) {
            VolumeStep::Offer => self.set_volume_phase(volume, "Available", "").await.map(drop)?,
            VolumeStep::Confirm => self.set_volume_phase(volume, "Bound", "").await.map(drop)?,
            VolumeStep::Unbind => self.unbind(volume).await?,
            VolumeStep::Release => return self.release(volume).await,
            VolumeStep::Ask => {
                self.queue.extend(claim_ref(volume).map(|reference| Work::Claim(key_of(reference))));
            }
            VolumeStep::Mismatch => self.tell_mismatch(volume, claim.as_deref()),
        }
        Ok(Next::Change)
    }

    /// The claim that the volume's reference leads to. What a copy does not
    /// show is asked for: a volume must not be released because of that.
    async fn claim_of(&self, volume: &PersistentVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let Some(reference) = claim_ref(volume) else { return Ok(None) };
        let Some(wanted) = uid(reference) else { return Ok(None) };
        let key = key_of(reference);
        let seen = self.claims.get(&key).filter(|claim| claim.metadata.uid.as_deref() == Some(wanted));
        if seen.is_some() || matches!(volume_phase(volume), "Released" | "Failed") {
            return Ok(seen);
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        Ok(absent(api.get(&key.name).await)?.map(Arc::new))
    }

    fn tell_mismatch(&self, volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) {
        let Some(claim) = claim else { return };
        let name = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            meta.name.clone().unwrap_or_default()
        };
        let message = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"{}\" due to incompatible volumeMode.",
            name(&claim.metadata)
        );
        self.events.event(volume, Severity::Warning, "VolumeMismatch", message);
        let message = format!(
            "Cannot bind PersistentVolume \"{}\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
            name(&volume.metadata)
        );
        self.events.event(claim, Severity::Warning, "VolumeMismatch", message);
    }
}
