//! A class of volume attributes stays while a claim or a volume has it.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Protection, changed, protection};
use crate::framework::{Error, Key, Next, Queue, Reconcile, Setup, Store, absent};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes.io/vac-protection";
/// The index of claims and volumes by the classes that they have.
const BY_ATTRIBUTES: &str = "attributes";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let classes = setup.reflect::<VolumeAttributesClass>();
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let volumes = setup.reflect::<PersistentVolume>();
    claims.store().index(BY_ATTRIBUTES, of_claim);
    volumes.store().index(BY_ATTRIBUTES, of_volume);
    let queue = Queue::new();
    let on_class = queue.clone();
    classes.on_change(move |change| {
        let wanting =
            |class: &&Arc<VolumeAttributesClass>| protection(&class.metadata, FINALIZER) != Protection::None;
        on_class.extend(change.after.filter(wanting).map(|class| Key::of(&class.metadata)));
    });
    // Whoever had one may have been the last.
    let on_claim = queue.clone();
    claims.on_change(move |change| {
        let had = change.before.map(|claim| of_claim(claim)).unwrap_or_default();
        on_claim.extend(had.into_iter().map(Key::cluster));
    });
    let on_volume = queue.clone();
    volumes.on_change(move |change| {
        let had = change.before.map(|volume| of_volume(volume)).unwrap_or_default();
        on_volume.extend(had.into_iter().map(Key::cluster));
    });
    let controller = Attributes {
        client: setup.client.clone(),
        classes: classes.store(),
        claims: claims.store(),
        volumes: volumes.store(),
    };
    setup.reconcile("volumeattributesclass-protection-controller", queue, WORKERS, controller);
}

/// The classes that the claim has, had until it has changed, or is to have.
fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let names = [
        claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone()),
        status.and_then(|status| status.current_volume_attributes_class_name.clone()),
        status.and_then(|status| {
            status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.clone()
        }),
    ];
    distinct(names)
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    distinct([volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone())])
}

fn distinct(names: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

struct Attributes {
    client: Client,
    classes: Arc<Store<VolumeAttributesClass>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    volumes: Arc<Store<PersistentVolume>>,
}

impl Reconcile<Key> for Attributes {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(class) = self.classes.get(key) else { return Ok(Next::Change) };
        let used = self.claims.count_indexed(BY_ATTRIBUTES, &key.name)
            + self.volumes.count_indexed(BY_ATTRIBUTES, &key.name);
        let with = match protection(&class.metadata, FINALIZER) {
            Protection::None => return Ok(Next::Change),
            Protection::Remove if used > 0 => return Ok(Next::Change),
            wanted => wanted == Protection::Add,
        };
        let meta = &class.metadata;
        let patch = Patch::Merge(json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version,
            "finalizers": changed(meta, FINALIZER, with),
        }}));
        let api = Api::<VolumeAttributesClass>::all(self.client.clone());
        absent(api.patch_metadata(&key.name, &PatchParams::default(), &patch).await)?;
        Ok(Next::Change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_a_claim() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {"currentVolumeAttributesClassName": "silver",
                       "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "gold"}},
        }))
        .unwrap();
        assert_eq!(of_claim(&claim), ["gold", "silver"]);
    }
}
