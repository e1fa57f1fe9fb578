//! The scheduling rules.

mod default_binder;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources;
pub(crate) mod node_selection;
mod node_unschedulable;
mod pod_topology_spread;
#[cfg(test)]
mod rule_tests;
mod scheduling_gates;
mod taint_toleration;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
mod volumes;

use std::sync::Arc;

use crate::{objects::Objects, plugin::Plugin, preemption::DefaultPreemption};
use tally::Tally;

/// The rules of the default profile, in upstream's order; they read `objects`.
pub fn default_plugins(objects: &Objects) -> Vec<Arc<dyn Plugin>> {
    let tally = Arc::new(Tally::default());
    vec![
        Arc::new(scheduling_gates::SchedulingGates),
        Arc::new(node_name::NodeName),
        Arc::new(node_unschedulable::NodeUnschedulable),
        Arc::new(taint_toleration::TaintToleration),
        Arc::new(node_affinity::NodeAffinity::new(Default::default())),
        Arc::new(node_ports::NodePorts),
        Arc::new(node_resources::NodeResourcesFit::new(Default::default())),
        Arc::new(volumes::VolumeRestrictions::new(tally.clone(), objects.clone())),
        Arc::new(volumes::NodeVolumeLimits(objects.clone())),
        Arc::new(volumes::VolumeBinding::new(Default::default(), objects.clone())),
        Arc::new(volumes::VolumeZone(objects.clone())),
        Arc::new(pod_topology_spread::PodTopologySpread::new(
            Default::default(),
            tally.clone(),
            objects.clone(),
        )),
        Arc::new(inter_pod_affinity::InterPodAffinity::new(
            Default::default(),
            tally.clone(),
            objects.clone(),
        )),
        Arc::new(dynamic_resources::DynamicResources(objects.clone())),
        Arc::new(node_resources::BalancedAllocation::new(Default::default())),
        Arc::new(image_locality::ImageLocality(tally)),
        Arc::new(default_binder::DefaultBinder),
        Arc::new(node_declared_features::NodeDeclaredFeatures),
        Arc::new(DefaultPreemption::new(Default::default(), objects.clone())),
    ]
}
