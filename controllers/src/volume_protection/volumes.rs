//! A volume stays while it is bound.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Protection, changed, protection};
use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Setup, Store, absent},
    storage::volume_phase,
};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes.io/pv-protection";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let volumes = setup.reflect::<PersistentVolume>();
    let queue = Queue::new();
    let on_volume = queue.clone();
    volumes.on_change(move |change| {
        let wanting =
            |volume: &&Arc<PersistentVolume>| protection(&volume.metadata, FINALIZER) != Protection::None;
        on_volume.extend(change.after.filter(wanting).map(|volume| Key::of(&volume.metadata)));
    });
    let controller = Volumes { client: setup.client.clone(), volumes: volumes.store() };
    setup.reconcile("persistentvolume-protection-controller", queue, WORKERS, controller);
}

struct Volumes {
    client: Client,
    volumes: Arc<Store<PersistentVolume>>,
}

impl Reconcile<Key> for Volumes {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Next::Change) };
        let with = match protection(&volume.metadata, FINALIZER) {
            Protection::None => return Ok(Next::Change),
            Protection::Remove if volume_phase(&volume) == "Bound" => return Ok(Next::Change),
            wanted => wanted == Protection::Add,
        };
        let meta = &volume.metadata;
        let patch = Patch::Merge(json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version,
            "finalizers": changed(meta, FINALIZER, with),
        }}));
        let api = Api::<PersistentVolume>::all(self.client.clone());
        absent(api.patch_metadata(&key.name, &PatchParams::default(), &patch).await)?;
        Ok(Next::Change)
    }
}
