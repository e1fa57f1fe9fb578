//! What a claim gets, as its status tells it.

use std::collections::BTreeMap;

use coracle_controllers::{devices, framework::Key};
use k8s_openapi::{
    api::{
        core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
        resource::v1::{
            AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult,
            DeviceClaimConfiguration, DeviceRequestAllocationResult,
        },
    },
    apimachinery::pkg::api::resource::Quantity as Text,
};
use uuid::Uuid;

use super::{
    super::capacity::Amounts,
    request::Asked,
    search::{Candidate, Chosen, Wanted},
};

/// What was found for a claim on `node`.
/// # Errors
/// The nodes from which its devices can be reached cannot be told.
pub(super) fn of(
    wanted: &Wanted<'_>,
    candidates: &[Candidate<'_>],
    node: &Node,
) -> Result<AllocationResult, String> {
    let chosen: Vec<(&Chosen, &Candidate<'_>)> =
        wanted.results.iter().filter_map(|it| Some((it, candidates.get(it.device)?))).collect();
    let results = chosen.iter().filter_map(|(it, candidate)| result(wanted, it, candidate)).collect();
    let name = node.metadata.name.clone().unwrap_or_default();
    let node_selector = selector(chosen.iter().map(|(_, candidate)| *candidate), name).map_err(|why| {
        let claim = Key::of(&wanted.claim.metadata).name;
        format!("create NodeSelector for claim {claim}: {why}")
    })?;
    let config = configuration(wanted);
    Ok(AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult {
            config: Some(config).filter(|config| !config.is_empty()),
            results: Some(results),
        }),
        node_selector,
    })
}

fn result(
    wanted: &Wanted<'_>,
    chosen: &Chosen,
    candidate: &Candidate<'_>,
) -> Option<DeviceRequestAllocationResult> {
    let request = wanted.asked.get(chosen.request)?.alternatives.get(chosen.alternative)?;
    let texts = |amounts: &Amounts| -> BTreeMap<String, Text> {
        amounts.iter().map(|(name, amount)| (name.clone(), Text(amount.to_string()))).collect()
    };
    let spec = &candidate.slice.spec;
    Some(DeviceRequestAllocationResult {
        admin_access: request.admin.then_some(true),
        binding_conditions: candidate.device.binding_conditions.clone(),
        binding_failure_conditions: candidate.device.binding_failure_conditions.clone(),
        consumed_capacity: chosen.taken.as_ref().filter(|taken| !taken.is_empty()).map(texts),
        device: candidate.device.name.clone(),
        driver: spec.driver.clone(),
        pool: spec.pool.name.clone(),
        request: request.full_name(),
        share_id: chosen.taken.as_ref().map(|_| Uuid::new_v4().to_string()),
        skip_node_operations: None,
        tolerations: Some(request.tolerations.to_vec()).filter(|it| !it.is_empty()),
    })
}

/// What drivers are told: by the classes, then by the claim.
fn configuration(wanted: &Wanted<'_>) -> Vec<DeviceAllocationConfiguration> {
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut classes = BTreeMap::new();
    for request in wanted.asked.iter().filter_map(Asked::met) {
        let name = request.full_name();
        let class = request.class.metadata.name.clone().unwrap_or_default();
        if let Some(range) = classes.get(&class) {
            let range: std::ops::Range<usize> = std::ops::Range::clone(range);
            for config in all.iter_mut().skip(range.start).take(range.len()) {
                config.requests.get_or_insert_default().push(name.clone());
            }
            continue;
        }
        let start = all.len();
        for config in request.class.spec.iter().flat_map(|spec| spec.config.iter().flatten()) {
            all.push(DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: Some(vec![name.clone()]),
                source: "FromClass".to_owned(),
            });
        }
        classes.insert(class, start..all.len());
    }
    let claimed =
        devices::wanted(wanted.claim).into_iter().flat_map(|devices| devices.config.iter().flatten());
    for DeviceClaimConfiguration { opaque, requests } in claimed {
        let named = requests.as_deref().unwrap_or_default();
        if named.is_empty() || wanted.asked.iter().any(|asked| is_named(asked, named)) {
            let source = "FromClaim".to_owned();
            all.push(DeviceAllocationConfiguration {
                opaque: opaque.clone(),
                requests: requests.clone(),
                source,
            });
        }
    }
    for config in &mut all {
        let named = config.requests.as_deref().unwrap_or_default();
        if wanted.asked.iter().all(|asked| is_named(asked, named)) {
            config.requests = None;
        }
    }
    all
}

/// Whether one of `names` is of what was met of a request.
fn is_named(asked: &Asked<'_>, names: &[String]) -> bool {
    let full = asked.met().map(|met| met.full_name());
    names.iter().any(|name| *name == asked.request.name || Some(name) == full.as_ref())
}

/// The nodes from which all devices can be reached; none is all nodes.
fn selector<'a>(
    chosen: impl Iterator<Item = &'a Candidate<'a>>,
    node: String,
) -> Result<Option<NodeSelector>, String> {
    let mut term = NodeSelectorTerm::default();
    for candidate in chosen {
        let spec = &candidate.slice.spec;
        let (name, selector) = match spec.per_device_node_selection {
            Some(true) => (&candidate.device.node_name, &candidate.device.node_selector),
            _ => (&spec.node_name, &spec.node_selector),
        };
        if name.is_some() || candidate.device.binds_to_node == Some(true) {
            let here = NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node]),
            };
            let term = NodeSelectorTerm { match_fields: Some(vec![here]), ..NodeSelectorTerm::default() };
            return Ok(Some(NodeSelector { node_selector_terms: vec![term] }));
        }
        match selector.as_ref().map(|selector| selector.node_selector_terms.as_slice()) {
            None | Some([]) => {}
            Some([only]) => {
                merge(&only.match_fields, &mut term.match_fields);
                merge(&only.match_expressions, &mut term.match_expressions);
            }
            Some(terms) => {
                return Err(format!("unsupported ResourceSlice.NodeSelector with {} terms", terms.len()));
            }
        }
    }
    let any = term.match_fields.is_some() || term.match_expressions.is_some();
    Ok(any.then(|| NodeSelector { node_selector_terms: vec![term] }))
}

fn merge(from: &Option<Vec<NodeSelectorRequirement>>, to: &mut Option<Vec<NodeSelectorRequirement>>) {
    let values = |it: &NodeSelectorRequirement| {
        let mut values = it.values.clone().unwrap_or_default();
        values.sort();
        values.dedup();
        values
    };
    for more in from.iter().flatten() {
        let known = to
            .iter()
            .flatten()
            .any(|it| it.key == more.key && it.operator == more.operator && values(it) == values(more));
        if !known {
            to.get_or_insert_default().push(more.clone());
        }
    }
}
