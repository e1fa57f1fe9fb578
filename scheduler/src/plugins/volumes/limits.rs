//! A node's drivers attach only so many volumes.

use std::collections::{BTreeMap, HashMap};

use coracle_controllers::{
    framework::Key,
    storage::{class_of_claim, volume_name},
};
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::CSINode};

use super::{claim, claim_name, foreign, volumes};
use crate::{
    cache::NodeInfo,
    objects::{BY_NODE, Objects},
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

pub(in super::super) struct NodeVolumeLimits(pub(in super::super) Objects);

/// Each volume once, with its driver.
type Attached = HashMap<String, String>;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::PodRemoved | Happening::Storage)
    }

    fn filter_reads(&self, _: &CycleState, pod: &PodInfo) -> Reads {
        let any = volumes(pod).iter().all(|volume| claim_name(pod, volume).is_none());
        if any { Reads::Nothing } else { Reads::Cluster }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        if volumes(pod).iter().all(|volume| claim_name(pod, volume).is_none()) {
            return Ok(());
        }
        let mut wanted = Attached::new();
        self.add(pod, true, &mut wanted)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let csi_node = self.0.csi_nodes.get(&Key::cluster(node.name()));
        if let Some(driver) = wanted.values().find(|driver| !self.is_installed(driver, csi_node.as_deref())) {
            return Err(Rejection::resolvable(format!("{driver} CSI driver is not installed on the node")));
        }
        let limits = csi_node.as_deref().map(limits).unwrap_or_default();
        if limits.is_empty() {
            return Ok(());
        }
        let mut attached = Attached::new();
        for other in node.pods.values() {
            self.add(other, false, &mut attached)?;
        }
        wanted.retain(|volume, _| !attached.contains_key(volume));
        attached.extend(self.attachments(node.name()));
        let of = |volumes: &Attached, driver: &str| volumes.values().filter(|one| *one == driver).count();
        for (driver, limit) in limits {
            let more = of(&wanted, driver);
            if more > 0 && i64::try_from(of(&attached, driver) + more).unwrap_or(i64::MAX) > limit {
                return Err(Rejection::resolvable("node(s) exceed max volume count"));
            }
        }
        Ok(())
    }
}

fn limits(node: &CSINode) -> BTreeMap<&str, i64> {
    let drivers = node.spec.drivers.iter();
    drivers
        .filter_map(|driver| Some((driver.name.as_str(), i64::from(driver.allocatable.as_ref()?.count?))))
        .collect()
}

impl NodeVolumeLimits {
    /// Adds the volumes of `pod`; of one that is placed, only what is known.
    fn add(&self, pod: &PodInfo, new: bool, attached: &mut Attached) -> Result<(), Rejection> {
        for volume in volumes(pod) {
            let Some((name, ephemeral)) = claim_name(pod, volume) else { continue };
            if name.is_empty() {
                return Err(Rejection::unresolvable("PersistentVolumeClaim had no name"));
            }
            let Some(claim) = claim(pod, &name, &self.0) else {
                if new {
                    let namespace = super::namespace(pod);
                    let text = format!(
                        "looking up PVC {namespace}/{name}: persistentvolumeclaim {name:?} not found"
                    );
                    return Err(Rejection::unresolvable(text));
                }
                continue;
            };
            if ephemeral && let Some(foreign) = foreign(&pod.pod, &claim) {
                return Err(Rejection::unresolvable(foreign));
            }
            if let Some((driver, handle)) = self.driver(&claim) {
                attached.insert(format!("{driver}/{handle}"), driver);
            }
        }
        Ok(())
    }

    /// The driver of the claim's volume and its handle of it.
    fn driver(&self, claim: &PersistentVolumeClaim) -> Option<(String, String)> {
        let volume = volume_name(claim).and_then(|name| self.0.volumes.get(&Key::cluster(name)));
        if let Some(volume) = volume {
            let csi = volume.spec.as_ref()?.csi.as_ref()?;
            return Some((csi.driver.clone(), csi.volume_handle.clone()));
        }
        let class = self.0.classes.get(&Key::cluster(class_of_claim(claim)))?;
        // No handle of a real volume has spaces.
        let handle = format!("claim {}", Key::of(&claim.metadata));
        Some((class.provisioner.clone(), handle))
    }

    fn is_installed(&self, driver: &str, node: Option<&CSINode>) -> bool {
        let known = self.0.csi_drivers.get(&Key::cluster(driver));
        known.is_none_or(|known| known.spec.prevent_pod_scheduling_if_missing != Some(true))
            || node.is_some_and(|node| node.spec.drivers.iter().any(|installed| installed.name == driver))
    }

    /// What is attached to the node, also for pods that have gone.
    fn attachments(&self, node: &str) -> Attached {
        let attachments = self.0.attachments.indexed(BY_NODE, node);
        let volumes = attachments.iter().filter_map(|attachment| {
            let name = attachment.spec.source.persistent_volume_name.as_ref()?;
            let volume = self.0.volumes.get(&Key::cluster(name))?;
            let driver = attachment.spec.attacher.clone();
            let handle = &volume.spec.as_ref()?.csi.as_ref()?.volume_handle;
            (!driver.is_empty()).then(|| (format!("{driver}/{handle}"), driver))
        });
        volumes.collect()
    }
}
