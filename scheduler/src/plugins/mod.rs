//! The scheduling rules.

mod default_binder;
pub(crate) mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod pod_topology_spread;
#[cfg(test)]
mod rule_tests;
mod scheduling_gates;
mod taint_toleration;
pub(crate) mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod volumes;

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{objects::Objects, plugin::Plugin, preemption::DefaultPreemption};
use tally::Tally;

/// The rules of the default profile, in upstream's order; they read `objects`.
pub fn default_plugins(objects: &Objects) -> Vec<Arc<dyn Plugin>> {
    // What nobody said cannot be wrong.
    configured_plugins(objects, &BTreeMap::new()).unwrap_or_default()
}

/// The same, told what `args` has by their names.
/// # Errors
/// A rule cannot be told that.
pub(crate) fn configured_plugins(
    objects: &Objects,
    args: &BTreeMap<String, Value>,
) -> Result<Vec<Arc<dyn Plugin>>, String> {
    let tally = Arc::new(Tally::default());
    Ok(vec![
        Arc::new(scheduling_gates::SchedulingGates),
        Arc::new(node_name::NodeName),
        Arc::new(node_unschedulable::NodeUnschedulable),
        Arc::new(taint_toleration::TaintToleration),
        Arc::new(node_affinity::NodeAffinity::new(told(args, "NodeAffinity")?)),
        Arc::new(node_ports::NodePorts),
        Arc::new(node_resources::NodeResourcesFit::new(told(args, "NodeResourcesFit")?, objects.clone())),
        Arc::new(volumes::VolumeRestrictions::new(tally.clone(), objects.clone())),
        Arc::new(volumes::NodeVolumeLimits(objects.clone())),
        Arc::new(volumes::VolumeBinding::new(told(args, "VolumeBinding")?, objects.clone())),
        Arc::new(volumes::VolumeZone(objects.clone())),
        Arc::new(pod_topology_spread::PodTopologySpread::new(
            told(args, "PodTopologySpread")?,
            tally.clone(),
            objects.clone(),
        )),
        Arc::new(inter_pod_affinity::InterPodAffinity::new(
            told(args, "InterPodAffinity")?,
            tally.clone(),
            objects.clone(),
        )),
        Arc::new(dynamic_resources::DynamicResources::new(
            told::<dynamic_resources::Args>(args, "DynamicResources")?.checked()?,
            objects.clone(),
        )),
        Arc::new(node_resources::BalancedAllocation::new(told(args, "NodeResourcesBalancedAllocation")?)),
        Arc::new(image_locality::ImageLocality(tally)),
        Arc::new(default_binder::DefaultBinder),
        Arc::new(node_declared_features::NodeDeclaredFeatures),
        Arc::new(DefaultPreemption::new(told(args, "DefaultPreemption")?, objects.clone())),
    ])
}

/// What a rule is told; nothing is its defaults.
fn told<T: DeserializeOwned + Default>(args: &BTreeMap<String, Value>, name: &str) -> Result<T, String> {
    let Some(Value::Object(fields)) = args.get(name).filter(|args| !args.is_null()) else {
        return match args.get(name) {
            None | Some(Value::Null) => Ok(T::default()),
            Some(_) => Err(format!("{name}: not an object")),
        };
    };
    let mut fields = fields.clone();
    let kind = fields.remove("kind");
    fields.remove("apiVersion");
    if kind.is_some_and(|kind| kind != format!("{name}Args")) {
        return Err(format!("{name}: its args are of another kind"));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| format!("{name}: {error}"))
}
