//! What would be bound if the pod went to a node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_api::Quantity;
use coracle_controllers::{
    framework::Key,
    node_selector::Selection,
    storage::{
        SELECTED_NODE, annotation, capacity, claim_ref, class_of_claim, class_of_volume, is_meant_for,
        request, volume_name, volume_phase,
    },
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
    storage::v1::{CSIStorageCapacity, StorageClass},
};

use super::super::super::{
    node_resources::{Point, shaped},
    tally::{Labels, matches, selector},
};
use crate::{cache::NodeInfo, objects::Objects, plugin::Rejection};

const CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const NONE_FREE: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A pod's claims.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) bound: Vec<Arc<PersistentVolumeClaim>>,
    /// Bound when a node is chosen; the smallest first.
    pub(super) waiting: Vec<Arc<PersistentVolumeClaim>>,
    /// The volumes of the bound ones; none where one is gone.
    volumes: Vec<Option<Where>>,
    /// Volumes that could be bound.
    free: Vec<Arc<PersistentVolume>>,
    taken: BTreeSet<String>,
}

/// On which nodes a volume is.
type Where = Option<Selection>;

/// What is to be bound for a pod on one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Volumes that are there.
    pub(super) bindings: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims for which a volume is to be made; where that is known to go,
    /// how much there is.
    pub(super) provisions: Vec<(Arc<PersistentVolumeClaim>, Option<i64>)>,
}

impl Claims {
    /// Looks up what is the same for all nodes.
    pub(super) fn prepare(&mut self, objects: &Objects, taken: BTreeSet<String>) {
        self.taken = taken;
        self.waiting.sort_by_key(|claim| request(claim));
        let volume = |claim: &Arc<PersistentVolumeClaim>| {
            let found = objects.volumes.get(&Key::cluster(volume_name(claim)?))?;
            Some(place(&found))
        };
        self.volumes = self.bound.iter().map(volume).collect();
        if !self.waiting.is_empty() {
            let classes: BTreeSet<&str> = self.waiting.iter().map(|claim| class_of_claim(claim)).collect();
            self.free = objects.volumes.all();
            self.free.retain(|volume| classes.contains(class_of_volume(volume)));
        }
    }

    /// What is to be bound on the node.
    /// # Errors
    /// Upstream's texts.
    pub(super) fn plan(&self, node: &NodeInfo, objects: &Objects) -> Result<Plan, Rejection> {
        let labels = node.node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        let mut reasons = Vec::new();
        // The first volume that is wrong decides.
        match self.volumes.iter().find_map(|volume| volume_trouble(volume.as_ref(), labels)) {
            Some(CONFLICT) => reasons.push(CONFLICT.to_owned()),
            Some(gone) => reasons.push(gone.to_owned()),
            None => {}
        }
        let gone_last = reasons.first().is_some_and(|reason| reason == GONE);
        let plan = match self.bind_waiting(node.name(), labels, objects) {
            Ok(plan) => plan,
            Err(Trouble::Reason(reason)) => {
                let at = if gone_last { 0 } else { reasons.len() };
                reasons.insert(at, reason.to_owned());
                Plan::default()
            }
            Err(Trouble::Failed(text)) => return Err(Rejection::unresolvable(text)),
        };
        if reasons.is_empty() {
            Ok(plan)
        } else {
            Err(Rejection { reasons, resolvable: false, failed: false })
        }
    }

    fn bind_waiting(&self, node: &str, labels: Option<&Labels>, objects: &Objects) -> Result<Plan, Trouble> {
        let mut plan = Plan::default();
        let mut provisions = Vec::new();
        let mut unmatched = Vec::new();
        for claim in &self.waiting {
            match annotation(&claim.metadata, SELECTED_NODE) {
                // A volume is being made for it elsewhere.
                Some(selected) if selected != node => return Err(Trouble::Reason(NONE_FREE)),
                Some(_) => provisions.push(claim),
                None => match self.matching(claim, labels, &plan) {
                    Some(volume) => plan.bindings.push((claim.clone(), volume)),
                    None => unmatched.push(claim),
                },
            }
        }
        provisions.extend(unmatched);
        for claim in provisions {
            let space = provision(claim, labels, objects)?;
            plan.provisions.push((claim.clone(), space));
        }
        Ok(plan)
    }

    /// The smallest volume that will do for the claim on the node.
    fn matching(
        &self,
        claim: &PersistentVolumeClaim,
        labels: Option<&Labels>,
        plan: &Plan,
    ) -> Option<Arc<PersistentVolume>> {
        let asked = request(claim);
        let mut best: Option<(Quantity, &Arc<PersistentVolume>)> = None;
        for volume in &self.free {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let chosen = plan.bindings.iter().any(|(_, other)| other.metadata.name == volume.metadata.name);
            if chosen || self.taken.contains(name) || !suits(volume, claim, &asked) {
                continue;
            }
            let near = is_near(volume, labels);
            if is_meant_for(volume, claim) {
                return near.then(|| volume.clone());
            }
            if near && is_free(volume, claim) {
                let size = capacity(volume);
                if best.as_ref().is_none_or(|(least, _)| size < *least) {
                    best = Some((size, volume));
                }
            }
        }
        best.map(|(_, volume)| volume.clone())
    }
}

enum Trouble {
    Reason(&'static str),
    Failed(String),
}

fn place(volume: &PersistentVolume) -> Where {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    affinity.required.as_ref().map(Selection::of)
}

fn volume_trouble(volume: Option<&Where>, labels: Option<&Labels>) -> Option<&'static str> {
    let Some(place) = volume else { return Some(GONE) };
    let there = place.as_ref().is_none_or(|place| place.matches_labels("", labels));
    (!there).then_some(CONFLICT)
}

fn is_near(volume: &PersistentVolume, labels: Option<&Labels>) -> bool {
    place(volume).is_none_or(|place| place.matches_labels("", labels))
}

/// True when the volume is large enough and of the right sort.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim, asked: &Quantity) -> bool {
    let mode = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    let of_volume = volume.spec.as_ref();
    let of_claim = claim.spec.as_ref();
    let modes = mode(of_volume.and_then(|spec| spec.volume_mode.as_ref()))
        == mode(of_claim.and_then(|spec| spec.volume_mode.as_ref()));
    let class = |name: Option<&String>| name.cloned().unwrap_or_default();
    let attributes = class(of_volume.and_then(|spec| spec.volume_attributes_class_name.as_ref()))
        == class(of_claim.and_then(|spec| spec.volume_attributes_class_name.as_ref()));
    (claim_ref(volume).is_none() || is_meant_for(volume, claim))
        && capacity(volume) >= *asked
        && modes
        && attributes
        && volume.metadata.deletion_timestamp.is_none()
}

/// True when a volume that nobody is meant for is one for the claim.
fn is_free(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.selector.as_ref());
    // A selector that cannot be read selects nothing.
    let selected = wanted.is_none_or(|wanted| {
        selector(Some(wanted)).is_ok_and(|wanted| matches(&wanted, volume.metadata.labels.as_ref()))
    });
    let offered = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let asked = spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    volume_phase(volume) == "Available"
        && selected
        && class_of_volume(volume) == class_of_claim(claim)
        && asked.iter().all(|mode| offered.contains(mode))
}

/// Whether a volume can be made for the claim on the node; how much there is.
fn provision(
    claim: &PersistentVolumeClaim,
    labels: Option<&Labels>,
    objects: &Objects,
) -> Result<Option<i64>, Trouble> {
    let name = class_of_claim(claim);
    if name.is_empty() {
        return Err(Trouble::Failed(format!("no class for claim \"{}\"", Key::of(&claim.metadata))));
    }
    let Some(class) = objects.classes.get(&Key::cluster(name)) else {
        return Err(Trouble::Failed(format!("failed to find storage class {name:?}")));
    };
    let reaches = class.allowed_topologies.as_deref().is_none_or(|terms| is_in(terms, labels));
    if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER || !reaches {
        return Err(Trouble::Reason(NONE_FREE));
    }
    space(claim, &class, labels, objects)
}

/// True when the node is where volumes may be made.
fn is_in(terms: &[TopologySelectorTerm], labels: Option<&Labels>) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        let rules = term.match_label_expressions.as_deref().unwrap_or_default();
        !rules.is_empty()
            && rules.iter().all(|rule| {
                labels
                    .and_then(|labels| labels.get(&rule.key))
                    .is_some_and(|value| rule.values.contains(value))
            })
    };
    terms.is_empty() || terms.iter().any(holds)
}

/// How much the driver has near the node, where it tells.
fn space(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    labels: Option<&Labels>,
    objects: &Objects,
) -> Result<Option<i64>, Trouble> {
    let driver = objects.csi_drivers.get(&Key::cluster(&class.provisioner));
    let tells = driver.is_some_and(|driver| driver.spec.storage_capacity == Some(true));
    if !tells {
        return Ok(None);
    }
    let asked = request(claim).value();
    let amount = |text: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        text.as_ref().and_then(|text| Quantity::parse(&text.0).ok()).map(|quantity| quantity.value())
    };
    let enough = |capacity: &&Arc<CSIStorageCapacity>| {
        let limit = amount(&capacity.maximum_volume_size).or_else(|| amount(&capacity.capacity));
        let near = capacity.node_topology.as_ref().is_some_and(|topology| {
            selector(Some(topology)).is_ok_and(|topology| matches(&topology, labels))
        });
        Some(&capacity.storage_class_name) == class.metadata.name.as_ref()
            && limit.is_some_and(|limit| limit >= asked)
            && near
    };
    let all = objects.capacities.all();
    let found = all.iter().find(enough).ok_or(Trouble::Reason(NO_SPACE))?;
    Ok(Some(amount(&found.capacity).unwrap_or(0)))
}

impl Plan {
    /// True when there is nothing to bind.
    pub(super) fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }

    /// The names of the volumes that it binds.
    pub(super) fn volumes(&self) -> Vec<String> {
        self.bindings.iter().filter_map(|(_, volume)| volume.metadata.name.clone()).collect()
    }

    /// How well what is asked for fits what there is, by class.
    pub(super) fn score(&self, shape: &[Point]) -> i64 {
        let mut classes: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (claim, volume) in &self.bindings {
            let (asked, there) = classes.entry(class_of_volume(volume).to_owned()).or_default();
            *asked = asked.saturating_add(request(claim).value());
            *there = there.saturating_add(capacity(volume).value());
        }
        if self.bindings.is_empty() {
            for (claim, space) in self.provisions.iter().filter_map(|(claim, space)| Some((claim, (*space)?)))
            {
                let (asked, there) = classes.entry(class_of_claim(claim).to_owned()).or_default();
                *asked = asked.saturating_add(request(claim).value());
                *there = space;
            }
        }
        let used = |(asked, there): &(i64, i64)| match there {
            there if *there == 0 || asked > there => 100,
            there => i64::try_from(i128::from(*asked) * 100 / i128::from(*there)).unwrap_or(100),
        };
        let sum: i64 = classes.values().map(|class| shaped(shape, used(class))).sum();
        if classes.is_empty() { 0 } else { (sum as f64 / classes.len() as f64).round() as i64 }
    }
}
