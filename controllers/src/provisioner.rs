//! The local provisioner: volumes that are directories below the data
//! directory, each on the node that its first consumer runs on.
//!
//! It is to the binder what any external provisioner is. Where there is no
//! storage class at all, it makes one, the default.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{
            HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
            ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
            VolumeNodeAffinity,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent, until},
    storage::{
        PROVISIONED_BY, SELECTED_NODE, STORAGE_PROVISIONER, Work, annotation, capacity, claim_ref,
        class_of_claim, grown, key_of, request, volume_name, volume_phase, waits_for_consumer,
    },
};

/// Its name in storage classes.
pub const NAME: &str = "coracle.dev/local";
const CLASS: &str = "standard";
const WORKERS: usize = 8;
/// Keeps a volume until its directory is gone.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const HOSTNAME: &str = "kubernetes.io/hostname";
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Puts the provisioner in; its volumes are below `directory`.
pub(crate) fn start(setup: &mut Setup, directory: &Path) {
    let claims = setup.reflect::<PersistentVolumeClaim>();
    let volumes = setup.reflect::<PersistentVolume>();
    let classes = setup.reflect::<StorageClass>();
    let nodes = setup.reflect::<Node>();
    let queue = Queue::new();
    let on_claim = queue.clone();
    claims.on_change(move |change| {
        let ours = |claim: &&Arc<PersistentVolumeClaim>| {
            annotation(&claim.metadata, STORAGE_PROVISIONER) == Some(NAME)
        };
        on_claim.extend(change.after.filter(ours).map(|claim| Work::Claim(Key::of(&claim.metadata))));
    });
    let on_volume = queue.clone();
    volumes.on_change(move |change| {
        let ours =
            |volume: &&Arc<PersistentVolume>| annotation(&volume.metadata, PROVISIONED_BY) == Some(NAME);
        on_volume.extend(change.after.filter(ours).map(|volume| Work::Volume(Key::of(&volume.metadata))));
    });
    let client = setup.client.clone();
    setup.task(move |shutdown| async move {
        until(&shutdown, make_class(client)).await;
    });
    let provisioner = Provisioner {
        client: setup.client.clone(),
        events: setup.recorder(NAME, Style::Counted),
        directory: directory.to_owned(),
        claims: claims.store(),
        volumes: volumes.store(),
        classes: classes.store(),
        nodes: nodes.store(),
    };
    setup.reconcile("coracle-local-provisioner", queue, WORKERS, provisioner);
}

/// Makes the default class where there is no class.
async fn make_class(client: Client) {
    let api = Api::<StorageClass>::all(client);
    loop {
        let made = async {
            if api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
                api.create(&PostParams::default(), &class()).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match made.await.map_err(Error::from) {
            Err(error) if !error.is_already_exists() => {
                tracing::debug!(%error, "the default storage class could not be made");
                tokio::time::sleep(RETRY).await;
            }
            _ => return,
        }
    }
}

fn class() -> StorageClass {
    let default = ("storageclass.kubernetes.io/is-default-class".to_owned(), "true".to_owned());
    StorageClass {
        metadata: ObjectMeta {
            name: Some(CLASS.to_owned()),
            annotations: Some(BTreeMap::from([default])),
            ..ObjectMeta::default()
        },
        provisioner: NAME.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        allow_volume_expansion: Some(true),
        ..StorageClass::default()
    }
}

struct Provisioner {
    client: Client,
    events: Recorder,
    directory: PathBuf,
    claims: Arc<Store<PersistentVolumeClaim>>,
    volumes: Arc<Store<PersistentVolume>>,
    classes: Arc<Store<StorageClass>>,
    nodes: Arc<Store<Node>>,
}

impl Reconcile<Work> for Provisioner {
    async fn reconcile(&self, work: &Work) -> Result<Next, Error> {
        match work {
            Work::Claim(key) => {
                if let Some(claim) = self.claims.get(key).filter(|c| c.metadata.deletion_timestamp.is_none())
                {
                    match volume_name(&claim) {
                        None => self.provision(key, &claim).await?,
                        Some(name) if grown(&claim) => self.enlarge(key, &claim, name).await?,
                        Some(_) => {}
                    }
                }
            }
            Work::Volume(key) => {
                if let Some(volume) = self.volumes.get(key) {
                    self.reclaim(&volume).await?;
                }
            }
        }
        Ok(Next::Change)
    }
}

impl Provisioner {
    async fn provision(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let name = class_of_claim(claim);
        let Some(class) = self.classes.get(&Key::cluster(name)).filter(|class| class.provisioner == NAME)
        else {
            return Ok(());
        };
        let selected = annotation(&claim.metadata, SELECTED_NODE);
        if selected.is_none() && waits_for_consumer(&class) {
            return Ok(());
        }
        let message = format!("External provisioner is provisioning volume for claim \"{key}\"");
        self.events.event(claim, Severity::Normal, "Provisioning", message);
        let node = selected.map(|name| (name, self.nodes.get(&Key::cluster(name))));
        if let Some((node, None)) = node {
            let why = format!("failed to get target node: nodes \"{node}\" not found");
            return self.fail(claim, why, true).await;
        }
        let node = node.and_then(|(_, node)| node);
        let volume = match volume(claim, &class, node.as_deref(), &self.directory) {
            Ok(volume) => volume,
            Err(why) => {
                let why = format!("failed to provision volume with StorageClass \"{name}\": {why}");
                return self.fail(claim, why, false).await;
            }
        };
        let api = Api::<PersistentVolume>::all(self.client.clone());
        match api.create(&PostParams::default(), &volume).await.map_err(Error::from) {
            Ok(made) => {
                let made = made.metadata.name.unwrap_or_default();
                let message = format!("Successfully provisioned volume {made}");
                self.events.event(claim, Severity::Normal, "ProvisioningSucceeded", message);
                Ok(())
            }
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells why there is no volume; when another node would do, the
    /// scheduler is to choose again.
    async fn fail(&self, claim: &PersistentVolumeClaim, why: String, reschedule: bool) -> Result<(), Error> {
        self.events.event(claim, Severity::Warning, "ProvisioningFailed", why);
        if reschedule {
            let meta = &claim.metadata;
            let patch = Patch::Merge(json!({"metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version, "annotations": {SELECTED_NODE: null},
            }}));
            let api = Api::<PersistentVolumeClaim>::namespaced(
                self.client.clone(),
                meta.namespace.as_deref().unwrap_or_default(),
            );
            let name = meta.name.as_deref().unwrap_or_default();
            absent(api.patch_metadata(name, &PatchParams::default(), &patch).await)?;
        }
        Ok(())
    }

    /// A directory is as large as one says.
    async fn enlarge(&self, key: &Key, claim: &PersistentVolumeClaim, name: &str) -> Result<(), Error> {
        let volume = self.volumes.get(&Key::cluster(name));
        let ours = |volume: &Arc<PersistentVolume>| {
            annotation(&volume.metadata, PROVISIONED_BY) == Some(NAME)
                && claim_ref(volume).is_some_and(|reference| reference.uid == claim.metadata.uid)
        };
        let Some(volume) = volume.filter(ours) else { return Ok(()) };
        let wanted = requested(claim);
        if capacity(&volume) < request(claim) {
            let patch = Patch::Merge(json!({
                "metadata": {"uid": volume.metadata.uid}, "spec": {"capacity": {"storage": wanted}},
            }));
            let api = Api::<PersistentVolume>::all(self.client.clone());
            absent(api.patch(name, &PatchParams::default(), &patch).await)?;
        }
        let patch = Patch::Merge(json!({
            "metadata": {"uid": claim.metadata.uid}, "status": {"capacity": {"storage": wanted}},
        }));
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        absent(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
        let message = "File system resize is not needed: the volume is a directory";
        self.events.event(claim, Severity::Normal, "VolumeResizeSuccessful", message);
        Ok(())
    }

    /// Deletes a volume whose claim is gone, its directory first.
    async fn reclaim(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let spec = volume.spec.clone().unwrap_or_default();
        let meta = &volume.metadata;
        let held = meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        let deleted = meta.deletion_timestamp.is_some();
        let free =
            matches!(volume_phase(volume), "Released" | "Failed") || (deleted && claim_ref(volume).is_none());
        let unwanted = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
        if !unwanted || !free || (deleted && !held) {
            return Ok(());
        }
        if let Some(reference) = claim_ref(volume) {
            let claim = self.claims.get(&key_of(reference));
            if claim
                .is_some_and(|c| c.metadata.uid == reference.uid && volume_name(&c) == meta.name.as_deref())
            {
                return Ok(());
            }
        }
        if let Some(path) = spec.host_path.as_ref().map(|host_path| Path::new(&host_path.path))
            && let Err(error) = self.remove(path).await
        {
            self.events.event(volume, Severity::Warning, "VolumeFailedDelete", error.to_string());
            return Err(Error::Invalid(format!("{}: {error}", path.display())));
        }
        let name = meta.name.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolume>::all(self.client.clone());
        if held {
            let kept: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
            let patch = Patch::Merge(json!({"metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": kept,
            }}));
            if absent(api.patch_metadata(name, &PatchParams::default(), &patch).await)?.is_none() || deleted {
                return Ok(());
            }
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        absent(api.delete(name, &params).await).map(drop)
    }

    /// Removes a directory of ours. A volume says what its user likes: what is
    /// not right below our directory is not ours.
    async fn remove(&self, path: &Path) -> std::io::Result<()> {
        if !is_below(path, &self.directory) {
            return Ok(());
        }
        match tokio::fs::remove_dir_all(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_below(path: &Path, directory: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(directory) else { return false };
    let mut parts = rest.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn requested(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|quantity| quantity.0.clone())
}

/// The volume for `claim`, or why there can be none.
fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: Option<&Node>,
    directory: &Path,
) -> Result<PersistentVolume, &'static str> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.selector.is_some() {
        return Err("claim.Spec.Selector is not supported");
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err("a data source is not supported");
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("block volume mode is not supported");
    }
    let modes = spec.access_modes.clone().unwrap_or_default();
    if modes.iter().any(|mode| mode != "ReadWriteOnce" && mode != "ReadWriteOncePod") {
        return Err("only ReadWriteOnce and ReadWriteOncePod access modes are supported");
    }
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default());
    let path = directory.join(&name).to_string_lossy().into_owned();
    let storage = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let meta = &claim.metadata;
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned());
    Ok(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), NAME.to_owned())])),
            finalizers: (policy == "Delete").then(|| vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(modes),
            capacity: Some(storage.into_iter().filter(|(resource, _)| resource == "storage").collect()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path: None,
            }),
            host_path: Some(HostPathVolumeSource { path, type_: Some("DirectoryOrCreate".into()) }),
            mount_options: class.mount_options.clone(),
            node_affinity: node.map(affinity),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    })
}

/// Only the node that was chosen has the directory.
fn affinity(node: &Node) -> VolumeNodeAffinity {
    let name = node.metadata.name.clone().unwrap_or_default();
    let hostname = node.metadata.labels.as_ref().and_then(|labels| labels.get(HOSTNAME).cloned());
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME.into(),
        operator: "In".into(),
        values: Some(vec![hostname.unwrap_or(name)]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), ..NodeSelectorTerm::default() };
    VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn volumes_for_claims() {
        let check = |spec: Value, expected: Result<&str, &str>| {
            let claim: PersistentVolumeClaim = serde_json::from_value(json!({
                "metadata": {"namespace": "a", "name": "data", "uid": "u"}, "spec": spec,
            }))
            .unwrap();
            let made = volume(&claim, &class(), None, Path::new("/data/volumes"));
            let path = made.as_ref().map(|volume| {
                let host_path = volume.spec.as_ref().and_then(|spec| spec.host_path.as_ref());
                host_path.map(|host_path| host_path.path.as_str()).unwrap_or_default()
            });
            assert_eq!(path, expected.as_ref().copied(), "{spec}");
        };
        let once = || json!(["ReadWriteOnce"]);
        check(json!({"accessModes": once()}), Ok("/data/volumes/pvc-u"));
        check(json!({"accessModes": once(), "selector": {}}), Err("claim.Spec.Selector is not supported"));
        check(
            json!({"accessModes": once(), "volumeMode": "Block"}),
            Err("block volume mode is not supported"),
        );
        check(
            json!({"accessModes": ["ReadWriteMany"]}),
            Err("only ReadWriteOnce and ReadWriteOncePod access modes are supported"),
        );
    }

    #[test]
    fn only_directories_of_ours_are_removed() {
        let check = |path: &str, expected: bool| {
            assert_eq!(is_below(Path::new(path), Path::new("/data/volumes")), expected, "{path}");
        };
        check("/data/volumes/pvc-1", true);
        check("/data/volumes", false);
        check("/data/volumes/..", false);
        check("/data/volumes/a/b", false);
        check("/etc", false);
    }
}
