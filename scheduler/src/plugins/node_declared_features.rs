//! What a pod needs of a node's software, which nodes declare.

use std::collections::BTreeSet;

use crate::{
    cache::{NodeInfo, Snapshot},
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

const RESTARTS_ALL: &str = "RestartAllContainersOnContainerExits";
const USERS_ON_HOST_NETWORK: &str = "UserNamespacesHostNetworkSupport";
const MOUNT_OPTIONS: &str = "VolumeBindMountOptions";

pub(super) struct NodeDeclaredFeatures;

/// The features that a pod needs.
struct Needed(Vec<&'static str>);

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeAdded | Happening::NodeFeatures | Happening::PodChanged)
    }

    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &Snapshot,
    ) -> Result<Option<BTreeSet<String>>, Rejection> {
        let needed = needed(pod);
        if !needed.is_empty() {
            state.put(Needed(needed));
        }
        Ok(None)
    }

    fn filter_reads(&self, state: &CycleState, _: &PodInfo) -> Reads {
        if state.get::<Needed>().is_none() { Reads::Nothing } else { Reads::Cluster }
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(Needed(needed)) = state.get() else { return Ok(()) };
        let status = node.node.as_ref().and_then(|node| node.status.as_ref());
        let declared = status.and_then(|status| status.declared_features.as_deref()).unwrap_or_default();
        if needed.iter().all(|feature| declared.iter().any(|declared| declared == feature)) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's required features"))
    }
}

fn needed(pod: &PodInfo) -> Vec<&'static str> {
    let Some(spec) = pod.spec() else { return Vec::new() };
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let restarts_all = containers()
        .any(|c| c.restart_policy_rules.iter().flatten().any(|rule| rule.action == "RestartAllContainers"));
    let users = spec.host_network == Some(true) && spec.host_users == Some(false);
    let ephemeral = spec.ephemeral_containers.iter().flatten().flat_map(|c| c.volume_mounts.iter().flatten());
    let mut mounts = containers().flat_map(|c| c.volume_mounts.iter().flatten()).chain(ephemeral);
    let options = mounts.any(|mount| mount.bind_mount_options.as_ref().is_some_and(|o| !o.is_empty()));
    [(RESTARTS_ALL, restarts_all), (USERS_ON_HOST_NETWORK, users), (MOUNT_OPTIONS, options)]
        .into_iter()
        .filter_map(|(feature, needed)| needed.then_some(feature))
        .collect()
}
