//! Tries devices for requests, and goes back where that leads nowhere.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use coracle_controllers::devices::{bears, taints};
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{Device, DeviceSelector, ResourceClaim, ResourceSlice},
};
use kube_cel::cel::objects::Value;

use super::{
    super::{
        capacity::{self, Amounts},
        pools::{Pool, State, device_reaches, devices},
        uses::{Use, id},
    },
    Inventory, MOST,
    constraint::Constraint,
    counters::Left,
    request::{Asked, Request},
};

/// Why a search ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// A claim would get more devices than it may.
    TooMany,
    /// It takes too long.
    Late,
    /// Something is wrong: upstream's text.
    Failed(String),
}

/// A claim, and what it has so far.
pub(super) struct Wanted<'a> {
    pub(super) claim: &'a ResourceClaim,
    pub(super) key: String,
    pub(super) asked: Vec<Asked<'a>>,
    pub(super) constraints: Vec<Constraint<'a>>,
    pub(super) results: Vec<Chosen>,
}

/// A device that a claim gets.
pub(super) struct Chosen {
    /// Where it stands among the candidates.
    pub(super) device: usize,
    /// Where its request stands.
    pub(super) request: usize,
    /// Which of its alternatives is met.
    pub(super) alternative: usize,
    /// What it takes of a device that is shared.
    pub(super) taken: Option<Amounts>,
}

/// A device of a pool that the node can reach.
pub(super) struct Candidate<'a> {
    pool: usize,
    pub(super) slice: &'a ResourceSlice,
    pub(super) device: &'a Device,
    id: String,
    used: Use,
    /// What selectors see of it.
    seen: OnceCell<Result<Value, String>>,
}

/// Where a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct At {
    claim: usize,
    request: usize,
    alternative: usize,
    /// How many devices of it are found.
    found: usize,
}

/// What was taken for a device, to be given back.
#[derive(Default)]
struct Taken {
    counters: bool,
    constraints: usize,
    marked: bool,
    amounts: bool,
    result: bool,
}

pub(super) struct Search<'a> {
    inventory: &'a Inventory,
    node: &'a Node,
    pools: &'a [Pool],
    deadline: Option<Instant>,
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) wanted: Vec<Wanted<'a>>,
    /// Whether a device is one that a request selects.
    selected: HashMap<(usize, usize, usize, usize), bool>,
    /// The claims that get a device, each alone or looking after it.
    getting: HashMap<usize, BTreeSet<usize>>,
    /// What claims take of devices that they share.
    sharing: HashMap<usize, Vec<Amounts>>,
    left: Left,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        inventory: &'a Inventory,
        node: &'a Node,
        pools: &'a [Pool],
        deadline: Option<Instant>,
    ) -> Self {
        let mut candidates = Vec::new();
        for (at, pool) in pools.iter().enumerate().filter(|(_, pool)| pool.state == State::Usable) {
            for slice in &pool.slices {
                candidates.extend(devices(slice).iter().map(|device| {
                    let id = id(&pool.id.driver, &pool.id.pool, &device.name);
                    let used = inventory.uses.of(&id);
                    Candidate { pool: at, slice, device, id, used, seen: OnceCell::new() }
                }));
            }
        }
        Self {
            inventory,
            node,
            pools,
            deadline,
            candidates,
            wanted: Vec::new(),
            selected: HashMap::new(),
            getting: HashMap::new(),
            sharing: HashMap::new(),
            left: Left::default(),
        }
    }

    /// Puts a claim in: finds what requests for all devices want.
    pub(super) fn want(&mut self, mut wanted: Wanted<'a>) -> Result<(), Stop> {
        let claim = self.wanted.len();
        let mut least = 0;
        for (request, asked) in wanted.asked.iter_mut().enumerate() {
            for alternative in 0..asked.alternatives.len() {
                let Some(it) = asked.alternatives.get_mut(alternative).filter(|it| it.all) else { continue };
                let at = At { claim, request, alternative, found: 0 };
                it.devices = self.every(&wanted.key, it, at)?;
                it.count = it.devices.len();
            }
            let more = asked.least();
            if more > MOST - least {
                let (key, name) = (&wanted.key, &asked.request.name);
                return Err(Stop::Failed(format!(
                    "claim {key}, request {name}: adding {more} devices exceeds the claim limit of {MOST}, with {least} already accounted for"
                )));
            }
            least += more;
        }
        self.wanted.push(wanted);
        Ok(())
    }

    fn every(&mut self, claim: &str, request: &Request<'a>, at: At) -> Result<Vec<usize>, Stop> {
        let broken = self.pools.iter().find_map(|pool| match pool.state {
            State::Usable => None,
            State::Incomplete => Some((pool, "being updated")),
            State::Invalid => Some((pool, "invalid")),
        });
        if let Some((pool, how)) = broken {
            return Err(Stop::Failed(format!(
                "claim {claim}, request {}: asks for all devices, but resource pool {} is currently {how}",
                request.name, pool.id
            )));
        }
        let mut all = Vec::new();
        for device in 0..self.candidates.len() {
            if !self.selects(claim, request, at, device)? {
                continue;
            }
            let Some(candidate) = self.candidates.get(device) else { continue };
            let capacity = candidate.device.capacity.clone().unwrap_or_default();
            let fits = capacity::fits(request.capacity, &capacity, &[]).map_err(|why| {
                let (name, device) = (request.name, &candidate.device.name);
                Stop::Failed(format!(
                    "claim {claim}, request {name}: checking capacity for device {device}: {why}"
                ))
            })?;
            if fits {
                all.push(device);
            }
        }
        Ok(all)
    }

    /// Finds devices for all requests; true when they are found.
    pub(super) fn run(&mut self) -> Result<bool, Stop> {
        self.place(At { claim: 0, request: 0, alternative: 0, found: 0 }, false, 0)
    }

    fn place(&mut self, at: At, settled: bool, from: usize) -> Result<bool, Stop> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stop::Late);
        }
        let Some(wanted) = self.wanted.get(at.claim) else { return Ok(true) };
        let Some(asked) = wanted.asked.get(at.request) else {
            let next = At { claim: at.claim + 1, request: 0, alternative: 0, found: 0 };
            return match self.place(next, false, 0) {
                Err(Stop::TooMany) => Ok(false),
                other => other,
            };
        };
        if !settled && asked.request.first_available.as_ref().is_some_and(|it| !it.is_empty()) {
            let alternatives = asked.alternatives.len();
            return self.first(at, alternatives);
        }
        let Some(request) = asked.alternatives.get(at.alternative) else { return Ok(false) };
        if request.all && request.devices.is_empty() {
            return Ok(false);
        }
        if at.found >= request.count {
            return self.place(At { request: at.request + 1, alternative: 0, found: 0, ..at }, false, 0);
        }
        if request.count - at.found > MOST.saturating_sub(wanted.results.len()) {
            return Err(Stop::TooMany);
        }
        let request = request.clone();
        if request.all {
            let Some(device) = request.devices.get(at.found) else { return Ok(false) };
            return self.try_one(&request, at, settled, *device, 0);
        }
        for device in from..self.candidates.len() {
            if self.may_take(&request, at, device)?
                && self.try_one(&request, at, settled, device, device + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first of the alternatives that is possible.
    fn first(&mut self, at: At, alternatives: usize) -> Result<bool, Stop> {
        let mut too_many = true;
        for alternative in 0..alternatives {
            match self.place(At { alternative, ..at }, true, 0) {
                Err(Stop::TooMany) => {}
                Err(stop) => return Err(stop),
                Ok(false) => too_many = false,
                Ok(true) => {
                    let asked = self.wanted.get_mut(at.claim).and_then(|it| it.asked.get_mut(at.request));
                    asked.into_iter().for_each(|asked| asked.chosen = alternative);
                    return Ok(true);
                }
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// Whether a device comes into question.
    fn may_take(&mut self, request: &Request<'a>, at: At, device: usize) -> Result<bool, Stop> {
        let key = self.key(at);
        Ok(self.is_free(request, at, device)
            && self.selects(&key, request, at, device)?
            && self.has_room(&key, request, device, "checking")?)
    }

    fn key(&self, at: At) -> String {
        self.wanted.get(at.claim).map(|wanted| wanted.key.clone()).unwrap_or_default()
    }

    fn is_free(&self, request: &Request<'_>, at: At, device: usize) -> bool {
        let getting = self.getting.get(&device);
        if request.admin {
            return !getting.is_some_and(|claims| claims.contains(&at.claim));
        }
        let alone = self.candidates.get(device).is_none_or(|candidate| candidate.used.alone);
        !alone && getting.is_none_or(BTreeSet::is_empty)
    }

    fn has_room(&self, claim: &str, request: &Request<'_>, device: usize, what: &str) -> Result<bool, Stop> {
        let Some(candidate) = self.candidates.get(device) else { return Ok(false) };
        let Some(capacity) = &candidate.device.capacity else {
            return Ok(request
                .capacity
                .is_none_or(|asked| asked.requests.as_ref().is_none_or(|it| it.is_empty())));
        };
        let mut used = vec![&candidate.used.taken];
        used.extend(self.sharing.get(&device).into_iter().flatten());
        capacity::fits(request.capacity, capacity, &used).map_err(|why| {
            let (name, id) = (request.name, &candidate.id);
            Stop::Failed(format!("claim {claim}, request {name}: {what} capacity for device {id}: {why}"))
        })
    }

    /// Takes a device and goes on; gives it back when that leads nowhere.
    fn try_one(
        &mut self,
        request: &Request<'a>,
        at: At,
        settled: bool,
        device: usize,
        next: usize,
    ) -> Result<bool, Stop> {
        let mut taken = Taken::default();
        let goes_on = match self.take(request, at, device, &mut taken) {
            Ok(true) => self.place(At { found: at.found + 1, ..at }, settled, next),
            other => other,
        };
        if !matches!(goes_on, Ok(true)) {
            self.give_back(request, at, device, &taken);
        }
        goes_on
    }

    fn take(
        &mut self,
        request: &Request<'a>,
        at: At,
        device: usize,
        taken: &mut Taken,
    ) -> Result<bool, Stop> {
        let key = self.key(at);
        let Some(candidate) = self.candidates.get(device) else { return Ok(false) };
        let (pool, slice, it) = (candidate.pool, candidate.slice, candidate.device);
        let is_shared = it.allow_multiple_allocations == Some(true);
        let is_watched = request.admin && is_shared;
        if !is_watched && !self.is_free(request, at, device) {
            return Ok(false);
        }
        // Who shares a device adds nothing to what the first took.
        let counted = is_shared
            && (candidate.used.shared
                || self.sharing.get(&device).is_some_and(|sharing| !sharing.is_empty()));
        if !counted && it.consumes_counters.as_ref().is_some_and(|consumed| !consumed.is_empty()) {
            let Some(of) = self.pools.get(pool) else { return Ok(false) };
            taken.counters = self.left.take(pool, of, it, &self.inventory.uses);
            if !taken.counters {
                return Ok(false);
            }
        }
        if self.is_tainted(slice, it, request) {
            return Ok(false);
        }
        let Some(wanted) = self.wanted.get_mut(at.claim) else { return Ok(false) };
        for constraint in &mut wanted.constraints {
            if !constraint.add(request.names(), &slice.spec.driver, it) {
                if !request.all {
                    return Ok(false);
                }
                return Err(Stop::Failed(format!(
                    "claim {key}, request {}: cannot add device {} because a claim constraint would not be satisfied",
                    request.name, candidate.id
                )));
            }
            taken.constraints += 1;
        }
        if !is_shared {
            self.getting.entry(device).or_default().insert(at.claim);
            taken.marked = true;
        }
        if !self.has_room(&key, request, device, "rechecking")? {
            return Ok(false);
        }
        let amounts = match is_shared {
            true => Some(self.amounts(&key, request, device)?),
            false => None,
        };
        if let Some(amounts) = &amounts {
            self.sharing.entry(device).or_default().push(amounts.clone());
            taken.amounts = true;
        }
        let Some(wanted) = self.wanted.get_mut(at.claim) else { return Ok(false) };
        wanted.results.push(Chosen {
            device,
            request: at.request,
            alternative: at.alternative,
            taken: amounts,
        });
        taken.result = true;
        Ok(true)
    }

    fn amounts(&self, claim: &str, request: &Request<'_>, device: usize) -> Result<Amounts, Stop> {
        let Some(candidate) = self.candidates.get(device) else { return Ok(Amounts::new()) };
        let capacity = candidate.device.capacity.clone().unwrap_or_default();
        capacity::taken(request.capacity, &capacity).map_err(|why| {
            let (name, id) = (request.name, &candidate.id);
            Stop::Failed(format!(
                "claim {claim}, request {name}: computing consumed capacity for device {id}: {why}"
            ))
        })
    }

    fn give_back(&mut self, request: &Request<'a>, at: At, device: usize, taken: &Taken) {
        if let Some(wanted) = self.wanted.get_mut(at.claim) {
            if taken.result {
                wanted.results.pop();
            }
            for constraint in wanted.constraints.iter_mut().take(taken.constraints) {
                constraint.remove(request.names());
            }
        }
        if taken.amounts
            && let Some(sharing) = self.sharing.get_mut(&device)
        {
            sharing.pop();
        }
        if taken.marked
            && let Some(claims) = self.getting.get_mut(&device)
        {
            claims.remove(&at.claim);
        }
        if taken.counters
            && let Some(candidate) = self.candidates.get(device)
        {
            self.left.give_back(candidate.pool, candidate.device);
        }
    }

    fn is_tainted(&self, slice: &ResourceSlice, device: &Device, request: &Request<'_>) -> bool {
        let (driver, pool) = (&slice.spec.driver, &slice.spec.pool.name);
        let ruled = self.inventory.rules.iter().filter(|rule| taints(rule, driver, pool, &device.name));
        let all = device.taints.iter().flatten().chain(ruled.map(|rule| &rule.spec.taint));
        all.filter(|taint| ["NoSchedule", "NoExecute"].contains(&taint.effect.as_str()))
            .any(|taint| !request.tolerations.iter().any(|toleration| bears(toleration, taint)))
    }

    /// Whether the request is for such devices.
    fn selects(&mut self, claim: &str, request: &Request<'a>, at: At, device: usize) -> Result<bool, Stop> {
        let place = (device, at.claim, at.request, at.alternative);
        if let Some(known) = self.selected.get(&place) {
            return Ok(*known);
        }
        let Some(candidate) = self.candidates.get(device) else { return Ok(false) };
        let name = request.class.metadata.name.as_deref().unwrap_or_default();
        let own = request.class.spec.as_ref().and_then(|spec| spec.selectors.as_deref()).unwrap_or_default();
        let selected = self.matches(&format!("class {name}"), own, candidate)?
            && self.matches(&format!("claim {claim}"), request.selectors, candidate)?
            && (candidate.slice.spec.per_device_node_selection != Some(true)
                || device_reaches(self.node, candidate.device));
        self.selected.insert(place, selected);
        Ok(selected)
    }

    fn matches(
        &self,
        whose: &str,
        selectors: &[DeviceSelector],
        candidate: &Candidate<'_>,
    ) -> Result<bool, Stop> {
        let environment = &self.inventory.environment;
        for (at, selector) in selectors.iter().enumerate() {
            let Some(cel) = &selector.cel else {
                return Err(Stop::Failed(format!("{whose}: selector #{at}: CEL expression empty")));
            };
            let compiled = environment.selector(&cel.expression);
            let compiled = compiled
                .as_ref()
                .as_ref()
                .map_err(|why| Stop::Failed(format!("{whose}: selector #{at}: CEL compile error: {why}")))?;
            let seen = candidate
                .seen
                .get_or_init(|| environment.device(&candidate.slice.spec.driver, candidate.device));
            let matches =
                seen.as_ref().map_err(Clone::clone).and_then(|it| environment.matches(compiled, it));
            let id = &candidate.id;
            let matches = matches.map_err(|why| {
                Stop::Failed(format!("{whose}: selector #{at} on device {id}: CEL runtime error: {why}"))
            })?;
            if !matches {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
