//! The scheduling rules.

mod balanced_allocation;
mod default_binder;
mod node_affinity;
mod node_name;
mod node_ports;
pub(crate) mod node_selection;
mod node_resources_fit;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::plugin::Plugin;

/// The rules of the default profile, in upstream's order.
pub fn default_plugins() -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(scheduling_gates::SchedulingGates),
        Arc::new(node_name::NodeName),
        Arc::new(node_unschedulable::NodeUnschedulable),
        Arc::new(taint_toleration::TaintToleration),
        Arc::new(node_affinity::NodeAffinity),
        Arc::new(node_ports::NodePorts),
        Arc::new(node_resources_fit::NodeResourcesFit),
        Arc::new(balanced_allocation::BalancedAllocation),
        Arc::new(default_binder::DefaultBinder),
    ]
}
