//! One numbered pod of a set: its name, its identity, its volumes.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::plan::Revision;
use crate::{framework::controller_reference, pod};

/// The label that names the revision that a pod is of.
pub(super) const REVISION: &str = "controller-revision-hash";
const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The pod's number, if its name is one of the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && Some(parent) == set.metadata.name.as_deref()).then(|| number.parse().ok()).flatten()
}

/// The first number.
pub(super) fn first(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// How many pods there are to be.
pub(super) fn count(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// Whether a pod of this number is to be.
pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    ordinal >= first(set) && ordinal - first(set) < count(set)
}

/// The revision that a pod is of.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    let of = |meta: &ObjectMeta| meta.name.clone().unwrap_or_default();
    format!("{}-{}-{ordinal}", of(&template.metadata), of(&set.metadata))
}

/// The claims of the pod of this number, with the names of their volumes.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let made = set.spec.volume_claim_templates.iter().flatten().map(|template| {
        let mut claim = template.clone();
        let volume = template.metadata.name.clone().unwrap_or_default();
        claim.metadata.name = Some(claim_name(set, template, ordinal));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim.status = None;
        let selected = set.spec.selector.match_labels.clone().unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        (volume, claim)
    });
    made.collect()
}

/// A new pod of this number and revision.
pub(super) fn new(set: &StatefulSet, revision: &Revision, ordinal: i32) -> Pod {
    let mut made = pod::from_template(&revision.template, controller_reference(set));
    made.metadata.generate_name = None;
    let labels = made.metadata.labels.get_or_insert_default();
    labels.insert(REVISION.into(), revision.name.clone());
    identify(set, &mut made, ordinal);
    let name = made.metadata.name.clone();
    let spec = made.spec.get_or_insert_default();
    spec.hostname = name;
    spec.subdomain.clone_from(&set.spec.service_name);
    store(set, &mut made, ordinal);
    made
}

fn identify(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let name = format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME.into(), name.clone());
    labels.insert(INDEX.into(), ordinal.to_string());
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
    pod.metadata.name = Some(name);
}

fn store(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let claims = claims(set, ordinal);
    let Some(spec) = &mut pod.spec else { return };
    let mut volumes: Vec<Volume> = claims.iter().map(|(name, claim)| volume(name, claim)).collect();
    let own = |volume: &Volume| claims.iter().any(|(name, _)| *name == volume.name);
    volumes.extend(spec.volumes.take().into_iter().flatten().filter(|volume| !own(volume)));
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
}

fn volume(name: &str, claim: &PersistentVolumeClaim) -> Volume {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: claim.metadata.name.clone().unwrap_or_default(),
        read_only: None,
    };
    Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The pod as it must be, if it is not: its labels, its volumes.
pub(super) fn mended(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Option<Pod> {
    let labels = pod.metadata.labels.as_ref();
    let named = labels.and_then(|labels| labels.get(NAME)) == pod.metadata.name.as_ref();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let has = |(name, claim): &(String, PersistentVolumeClaim)| {
        let found = volumes.into_iter().flatten().find(|volume| volume.name == *name);
        let source = found.and_then(|volume| volume.persistent_volume_claim.as_ref());
        source.is_some_and(|source| Some(&source.claim_name) == claim.metadata.name.as_ref())
    };
    if named && claims(set, ordinal).iter().all(has) {
        return None;
    }
    let mut mended = pod.clone();
    identify(set, &mut mended, ordinal);
    store(set, &mut mended, ordinal);
    Some(mended)
}
