//! Hints by a service's `trafficDistribution`: close endpoints are preferred.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone};

use super::packing::Changes;

/// How close clients are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closeness {
    /// Not at all: no hints.
    Anywhere,
    /// The zone.
    Zone,
    /// The node, and else the zone.
    Node,
}

impl Closeness {
    /// What a service's field says.
    pub(crate) fn parse(distribution: Option<&str>) -> Self {
        match distribution {
            Some("PreferClose" | "PreferSameZone") => Closeness::Zone,
            Some("PreferSameNode") => Closeness::Node,
            _ => Closeness::Anywhere,
        }
    }

    /// The hints that `endpoint` should have. One that is not ready keeps its
    /// own where there are hints at all.
    fn hints(self, endpoint: &Endpoint) -> Option<EndpointHints> {
        if self == Closeness::Anywhere {
            return None;
        }
        if !is_ready(endpoint) {
            return endpoint.hints.clone();
        }
        let zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
        let node = endpoint.node_name.clone().filter(|_| self == Closeness::Node);
        let nodes = node.map(|name| vec![ForNode { name }]);
        (zones.is_some() || nodes.is_some()).then_some(EndpointHints { for_nodes: nodes, for_zones: zones })
    }
}

pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
}

/// Gives all endpoints of `changes` their hints.
pub(crate) fn apply(closeness: Closeness, changes: &mut Changes) {
    let right = |endpoint: &Endpoint| endpoint.hints == closeness.hints(endpoint);
    touch(changes, |slice| !slice.endpoints.iter().flatten().all(right));
    for slice in changes.create.iter_mut().chain(&mut changes.update) {
        for endpoint in slice.endpoints.iter_mut().flatten() {
            endpoint.hints = closeness.hints(endpoint);
        }
    }
}

/// Moves the unchanged slices that `wrong` picks among those to be updated.
pub(crate) fn touch(changes: &mut Changes, mut wrong: impl FnMut(&EndpointSlice) -> bool) {
    let kept: Vec<Arc<EndpointSlice>> = std::mem::take(&mut changes.unchanged);
    for slice in kept {
        match wrong(&slice) {
            true => changes.update.push(EndpointSlice::clone(&slice)),
            false => changes.unchanged.push(slice),
        }
    }
}
