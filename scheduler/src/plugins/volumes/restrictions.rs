//! Disks that cannot be used by two pods at once.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Volume;

use super::{super::tally::Tally, claim, namespace, not_found, volumes};
use crate::{
    cache::{NodeInfo, Snapshot},
    objects::Objects,
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

const IN_USE: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

pub(in super::super) struct VolumeRestrictions {
    tally: Arc<Tally>,
    objects: Objects,
}

/// The pod's claims that only one pod may use, and how often others do.
struct Alone {
    claims: BTreeSet<String>,
    used: i64,
}

impl VolumeRestrictions {
    pub(in super::super) fn new(tally: Arc<Tally>, objects: Objects) -> Self {
        Self { tally, objects }
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::PodRemoved | Happening::Storage)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let mut claims = BTreeSet::new();
        for source in volumes(pod).iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            let name = &source.claim_name;
            let found =
                claim(pod, name, &self.objects).ok_or_else(|| not_found("persistentvolumeclaim", name))?;
            let modes = found.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
            if modes.iter().any(|mode| mode == "ReadWriteOncePod") {
                claims.insert(name.clone());
            }
        }
        if !claims.is_empty() {
            let view = self.tally.at(nodes);
            let used = claims.iter().filter(|name| view.uses_claim(namespace(pod), name)).count();
            state.put(Alone { claims, used: i64::try_from(used).unwrap_or(i64::MAX) });
        }
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, pod: &PodInfo) -> Reads {
        let any = state.get::<Alone>().is_none() && !volumes(pod).iter().any(is_single);
        if any { Reads::Nothing } else { Reads::Cluster }
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let mut single = volumes(pod).iter().filter(|volume| is_single(volume)).peekable();
        if single.peek().is_some() {
            let there: Vec<&Volume> = node.pods.values().flat_map(|pod| volumes(pod)).collect();
            if single.any(|volume| there.iter().any(|other| conflict(volume, other))) {
                return Err(Rejection::resolvable("node(s) had no available disk"));
            }
        }
        match state.get::<Alone>() {
            Some(alone) if alone.used > 0 => Err(Rejection::resolvable(IN_USE)),
            _ => Ok(()),
        }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn suppose(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, _: &NodeInfo, more: i64) {
        let Some(alone) = state.get_mut::<Alone>() else { return };
        if namespace(pod) == namespace(other) {
            let uses = volumes(other).iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
            let uses = uses.filter(|source| alone.claims.contains(&source.claim_name)).count();
            alone.used += more * i64::try_from(uses).unwrap_or(0);
        }
    }
}

fn is_single(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// True when both cannot be had on one node.
fn conflict(one: &Volume, other: &Volume) -> bool {
    let both = |a: Option<bool>, b: Option<bool>| a == Some(true) && b == Some(true);
    if let (Some(a), Some(b)) = (&one.gce_persistent_disk, &other.gce_persistent_disk)
        && a.pd_name == b.pd_name
        && !both(a.read_only, b.read_only)
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&one.aws_elastic_block_store, &other.aws_elastic_block_store)
        && a.volume_id == b.volume_id
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&one.iscsi, &other.iscsi)
        && a.iqn == b.iqn
        && !both(a.read_only, b.read_only)
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&one.rbd, &other.rbd) {
        return a.monitors.iter().any(|monitor| b.monitors.contains(monitor))
            && a.pool == b.pool
            && a.image == b.image
            && !both(a.read_only, b.read_only);
    }
    false
}
