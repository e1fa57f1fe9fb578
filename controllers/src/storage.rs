//! What claims, volumes and storage classes say, and how pods name claims.

use std::{fmt, sync::Arc};

use coracle_api::quantity::Quantity;
use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, Volume},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::framework::{Key, Store};

/// On a claim whose binding is complete.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On what was bound by the controller and not by a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a volume: who made it for a claim.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a claim: the node of its first consumer, as the scheduler has chosen.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: who is to make a volume for it.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same, of old.
pub const BETA_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// What a controller of volumes has to look at: a claim, or a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Work {
    /// By its namespace and name.
    Claim(Key),
    /// By its name.
    Volume(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Claim(key) => write!(f, "claim {key}"),
            Work::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

/// The annotation `key`.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class that the claim asks for; `None` when it says nothing of one.
pub fn asked_class(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata, BETA_CLASS).or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
}

/// The class of the claim, empty for none.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    asked_class(claim).unwrap_or_default()
}

/// The class of the volume, empty for none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let of_spec = || volume.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&volume.metadata, BETA_CLASS).or_else(of_spec).unwrap_or_default()
}

/// The class that claims get that do not ask for one: of several defaults the
/// newest, of equally new ones the first by name.
pub fn default_class(classes: &[Arc<StorageClass>]) -> Option<&Arc<StorageClass>> {
    let is_default = |class: &&Arc<StorageClass>| {
        DEFAULT_CLASS.iter().any(|key| annotation(&class.metadata, key) == Some("true"))
    };
    let newest_first = |class: &&Arc<StorageClass>| {
        let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (std::cmp::Reverse(created), class.metadata.name.clone())
    };
    classes.iter().filter(is_default).min_by_key(newest_first)
}

/// True for a class whose volumes are bound when the first pod wants them.
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// How much the volume holds.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    let spec = volume.spec.as_ref();
    let text = spec.and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    text.and_then(|text| Quantity::parse(&text.0).ok()).unwrap_or_default()
}

/// How much the claim asks for.
pub fn request(claim: &PersistentVolumeClaim) -> Quantity {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let text = requests.and_then(|requests| requests.get("storage"));
    text.and_then(|text| Quantity::parse(&text.0).ok()).unwrap_or_default()
}

/// True when the volume's reference is to this claim, or to any of its name.
pub fn is_meant_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && uid(reference).is_none_or(|uid| Some(uid) == claim.metadata.uid.as_deref())
    })
}

/// The volume's reference to its claim.
pub fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// The uid of a reference, when it has one.
pub fn uid(reference: &ObjectReference) -> Option<&str> {
    reference.uid.as_deref().filter(|uid| !uid.is_empty())
}

/// Where the claim is that a reference leads to.
pub fn key_of(reference: &ObjectReference) -> Key {
    Key::namespaced(
        reference.namespace.clone().unwrap_or_default(),
        reference.name.clone().unwrap_or_default(),
    )
}

/// The volume that the claim names.
pub fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The phase of the claim.
pub fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The phase of the volume.
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The name of the claim that is made for the ephemeral volume of a pod.
pub fn ephemeral_claim(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)
}

/// The names of the claims that the pod uses.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(ephemeral_claim(pod, volume)),
        (None, None) => None,
    })
}

/// The name of the index of pods by the claims that they use.
pub const BY_CLAIM: &str = "claim";

/// Keeps `pods` indexed by claim: [`BY_CLAIM`], with the text of its key.
pub fn index_by_claim(pods: &Store<Pod>) {
    pods.index(BY_CLAIM, |pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        claims_of(pod).map(|name| format!("{namespace}/{name}")).collect()
    });
}

/// True when the claim asks for more than its volume is known to hold.
pub fn grown(claim: &PersistentVolumeClaim) -> bool {
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    capacity.and_then(|text| Quantity::parse(&text.0).ok()).is_some_and(|has| request(claim) > has)
}
