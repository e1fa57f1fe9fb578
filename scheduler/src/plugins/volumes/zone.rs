//! Volumes that are in a zone or region, by their labels.

use std::collections::BTreeSet;

use coracle_controllers::{
    framework::Key,
    storage::{class_of_claim, volume_name},
};

use super::{claim, not_found, volumes};
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

/// A label, and the one that is looked at where a node does not have it.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub(in super::super) struct VolumeZone(pub(in super::super) Objects);

/// Where the pod's volumes are: which label must have one of which values.
struct Zones(Vec<Zone>);

/// A label, the one that stands in for it, and the values of which it has one.
type Zone = (&'static str, &'static str, BTreeSet<String>);

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeLabels | Happening::Storage)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let mut zones = Vec::new();
        for source in volumes(pod).iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            zones.extend(self.zones(pod, &source.claim_name)?);
        }
        if !zones.is_empty() {
            state.put(Zones(zones));
        }
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Zones>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(Zones(zones)) = state.get() else { return Ok(()) };
        let labels = node.node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        let label = |key: &str| labels.and_then(|labels| labels.get(key));
        // A node that is nowhere is taken to be everywhere.
        if LABELS.iter().all(|(key, _)| label(key).is_none()) {
            return Ok(());
        }
        let there = |(key, otherwise, values): &(&str, &str, BTreeSet<String>)| {
            label(key).or_else(|| label(otherwise)).is_some_and(|value| values.contains(value))
        };
        if zones.iter().all(there) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) had no available volume zone"))
    }
}

impl VolumeZone {
    fn zones(&self, pod: &PodInfo, name: &str) -> Result<Vec<Zone>, Rejection> {
        if name.is_empty() {
            return Err(Rejection::unresolvable("PersistentVolumeClaim had no name"));
        }
        let claim = claim(pod, name, &self.0).ok_or_else(|| not_found("persistentvolumeclaim", name))?;
        let Some(volume) = volume_name(&claim) else {
            let class = class_of_claim(&claim);
            if class.is_empty() {
                return Err(Rejection::unresolvable(
                    "PersistentVolumeClaim had no pv name and storageClass name",
                ));
            }
            let found = self.0.classes.get(&Key::cluster(class));
            let found = found.ok_or_else(|| not_found("storageclass.storage.k8s.io", class))?;
            return match found.volume_binding_mode.as_deref() {
                None => Err(Rejection::unresolvable(format!(
                    "VolumeBindingMode not set for StorageClass {class:?}"
                ))),
                Some("WaitForFirstConsumer") => Ok(Vec::new()),
                Some(_) => Err(Rejection::unresolvable("PersistentVolume had no name")),
            };
        };
        let found =
            self.0.volumes.get(&Key::cluster(volume)).ok_or_else(|| not_found("persistentvolume", volume))?;
        let labels = found.metadata.labels.as_ref();
        let zones = LABELS
            .iter()
            .filter_map(|(key, otherwise)| Some((*key, *otherwise, several(labels?.get(*key)?)?)));
        Ok(zones.collect())
    }
}

/// `a__b` is a and b.
fn several(value: &str) -> Option<BTreeSet<String>> {
    let values: BTreeSet<String> = value.split("__").map(|value| value.trim().to_owned()).collect();
    (!values.contains("")).then_some(values)
}
