//! One pod's way to a node: filter, score, choose. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::resource::v1::ResourceClaim;
use rand::{Rng, rngs::StdRng};

use crate::{
    cache::{NodeInfo, Snapshot},
    extender::{self, Extender},
    nominations::Nominations,
    plugin::{CycleState, Nomination, Plugin, Reads, Rejection},
    pod::PodInfo,
    shape::{Refusal, Said, Shapes},
};

/// Up to this many nodes all are looked at.
const ALL_UP_TO: usize = 100;
/// The least share of nodes to find, in percent.
const LEAST_PERCENT: usize = 5;

/// What a cycle looks at.
pub struct Moment<'a> {
    /// The rules.
    pub plugins: &'a [Arc<dyn Plugin>],
    /// The nodes and the pods on them.
    pub nodes: &'a Snapshot,
    /// The pods that will be on nodes when there is room.
    pub nominations: &'a Nominations,
    /// How many of the nodes to find, in percent; 0 goes by how many there are.
    pub percentage: usize,
    /// Who else is asked.
    pub extenders: &'a [Extender],
    /// What is remembered for pods alike; of these rules and no others.
    pub shapes: &'a Shapes,
    /// The time.
    pub now: Timestamp,
}

/// A cycle that found no node, for who looks for room.
pub struct Search<'a> {
    /// What it looked at.
    pub moment: &'a Moment<'a>,
    /// What rules worked out.
    pub state: &'a mut CycleState,
    /// The pod.
    pub pod: &'a PodInfo,
    /// Why no node can take it.
    pub diagnosis: &'a Diagnosis,
    /// Decides where to begin.
    pub luck: &'a mut StdRng,
}

/// What a cycle leads to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and never kept")]
pub enum Decision {
    /// The pod goes to this node.
    Node(String),
    /// No node can take it.
    Unfit(Diagnosis),
    /// There is no node.
    NoNodes,
}

/// Why no node can take a pod.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// Why each node that was looked at was rejected.
    pub rejected: BTreeMap<String, Rejection>,
    /// Why the others were not looked at.
    pub absent: Option<Rejection>,
    /// Why none had to be looked at.
    pub whole: Option<Rejection>,
    /// The rules that rejected.
    pub plugins: BTreeSet<&'static str>,
    /// What looking for room led to.
    pub room: Option<String>,
    /// The node on which there will be room.
    pub nomination: Nomination,
    /// The pods that are to go from it.
    pub victims: Vec<Arc<PodInfo>>,
    /// The claims whose devices are to be given back.
    pub claims: Vec<Arc<ResourceClaim>>,
    /// Why it was not found out whether a node can take it.
    pub failed: Option<String>,
}

impl Diagnosis {
    /// Why `node` was rejected, looked at or not.
    pub fn rejection(&self, node: &str) -> Option<&Rejection> {
        self.whole.as_ref().or_else(|| self.rejected.get(node)).or(self.absent.as_ref())
    }
}

/// Finds the node for `pod`.
///
/// With many nodes it stops when enough can take the pod; the next cycle goes
/// on where this one stopped, at `start`. Between equals `luck` decides.
pub fn schedule_one(moment: &Moment<'_>, pod: &PodInfo, start: &mut usize, luck: &mut StdRng) -> Decision {
    let Moment { plugins, nodes, .. } = *moment;
    if nodes.nodes().is_empty() {
        return Decision::NoNodes;
    }
    let mut state = CycleState::default();
    let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
    let mut said = moment.shapes.take(pod.shape(), nodes);
    let candidates = pre_filter(plugins, &mut state, nodes, pod, &mut diagnosis);
    let fitting = match &candidates {
        Some(candidates) => match nominated(moment, &mut state, pod) {
            Some(node) => vec![node],
            None => filter(moment, &mut state, candidates, (pod, &mut said), start, &mut diagnosis),
        },
        None => Vec::new(),
    };
    let fitting = passed(moment, pod, fitting, &mut diagnosis);
    let decision = match fitting.as_slice() {
        [] if diagnosis.failed.is_some() => Decision::Unfit(diagnosis),
        [] => {
            make_room(moment, &mut state, pod, &mut diagnosis, luck);
            Decision::Unfit(diagnosis)
        }
        [only] => Decision::Node(only.name().to_owned()),
        _ => Decision::Node(best(moment, &mut state, &fitting, (pod, &mut said), luck)),
    };
    moment.shapes.keep(pod.shape(), said);
    decision
}

/// The nodes that come into question; none when a rule rejects them all.
fn pre_filter<'a>(
    plugins: &[Arc<dyn Plugin>],
    state: &mut CycleState,
    nodes: &'a Snapshot,
    pod: &PodInfo,
    diagnosis: &mut Diagnosis,
) -> Option<Cow<'a, [Arc<NodeInfo>]>> {
    let mut named: Option<BTreeSet<String>> = None;
    let mut naming = BTreeSet::new();
    for plugin in plugins {
        match plugin.pre_filter(state, pod, nodes) {
            Ok(None) => {}
            Ok(Some(names)) => {
                naming.insert(plugin.name());
                named = Some(named.map_or(names.clone(), |named| &named & &names));
            }
            Err(rejection) => {
                diagnosis.plugins.insert(plugin.name());
                if rejection.failed {
                    let why = rejection.reasons.join(", ");
                    diagnosis.failed = Some(format!("running PreFilter plugin \"{}\": {why}", plugin.name()));
                }
                diagnosis.whole = Some(rejection);
                return None;
            }
        }
    }
    let Some(named) = named else { return Some(Cow::Borrowed(nodes.nodes())) };
    let names: Vec<&str> = naming.iter().copied().collect();
    diagnosis.plugins.extend(naming.iter().copied());
    diagnosis.absent =
        Some(Rejection::unresolvable(format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "))));
    Some(named.iter().filter_map(|name| nodes.node(name).cloned()).collect())
}

/// The node on which room was made for the pod, when it fits there now.
fn nominated<'a>(moment: &Moment<'a>, state: &mut CycleState, pod: &PodInfo) -> Option<&'a NodeInfo> {
    let node = moment.nodes.node(pod.nominated()?)?;
    refused(moment, state, pod, node).is_none().then(|| node.as_ref())
}

/// Which rule rejects the node, and why.
///
/// Pods that are as important and nominated to the node count as there; and
/// as they may go elsewhere, the pod must fit without them, too. `state` is
/// afterwards as it was.
pub fn refused(
    moment: &Moment<'_>,
    state: &mut CycleState,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Option<(&'static str, Rejection)> {
    let mut coming = moment.nominations.on(node.name()).filter(|other| yields(pod, other)).peekable();
    if coming.peek().is_some() {
        let coming: Vec<&Arc<PodInfo>> = coming.collect();
        let mut full = node.clone();
        for other in &coming {
            full.add((*other).clone());
            suppose(moment.plugins, state, pod, other, &full, 1);
        }
        let rejection = rejection(moment.plugins, state, pod, &full);
        for other in &coming {
            full.remove(&other.uid);
            suppose(moment.plugins, state, pod, other, &full, -1);
        }
        if rejection.is_some() {
            return rejection;
        }
    }
    rejection(moment.plugins, state, pod, node)
}

fn yields(pod: &PodInfo, nominated: &PodInfo) -> bool {
    nominated.priority() >= pod.priority() && nominated.uid != pod.uid
}

fn rejection(
    plugins: &[Arc<dyn Plugin>],
    state: &CycleState,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Option<(&'static str, Rejection)> {
    plugins.iter().find_map(|p| p.filter(state, pod, node).err().map(|rejection| (p.name(), rejection)))
}

/// Tells all rules that `other` has come to the node, or gone.
pub(crate) fn suppose(
    plugins: &[Arc<dyn Plugin>],
    state: &mut CycleState,
    pod: &PodInfo,
    other: &PodInfo,
    node: &NodeInfo,
    more: i64,
) {
    plugins.iter().for_each(|plugin| plugin.suppose(state, pod, other, node, more));
}

/// Rules by what their word on a node depends on, with their places.
struct Asked<'a> {
    node: Vec<(usize, &'a dyn Plugin)>,
    cluster: Vec<(usize, &'a dyn Plugin)>,
}

impl<'a> Asked<'a> {
    fn of(plugins: &'a [Arc<dyn Plugin>], reads: impl Fn(&dyn Plugin) -> Reads) -> Self {
        let mut asked = Self { node: Vec::new(), cluster: Vec::new() };
        for (at, plugin) in plugins.iter().enumerate() {
            match reads(plugin.as_ref()) {
                Reads::Nothing => {}
                Reads::Node => asked.node.push((at, plugin.as_ref())),
                Reads::Cluster => asked.cluster.push((at, plugin.as_ref())),
            }
        }
        asked
    }

    /// The first rule that rejects the node, and why.
    fn refusal(
        &self,
        state: &CycleState,
        (pod, said): (&PodInfo, &mut Said),
        info: &NodeInfo,
    ) -> Option<Refusal> {
        let judge = |rules: &[(usize, &dyn Plugin)], before: usize| {
            let mut rules = rules.iter().take_while(|(at, _)| *at < before);
            rules.find_map(|(at, rule)| rule.filter(state, pod, info).err().map(|why| (*at, why)))
        };
        let known = said.refusal(info, || judge(&self.node, usize::MAX));
        let before = known.as_ref().map_or(usize::MAX, |(at, _)| *at);
        judge(&self.cluster, before).map(|(at, why)| (at, Arc::new(why))).or(known)
    }
}

fn filter<'a>(
    moment: &Moment<'_>,
    state: &mut CycleState,
    candidates: &'a [Arc<NodeInfo>],
    (pod, said): (&PodInfo, &mut Said),
    start: &mut usize,
    diagnosis: &mut Diagnosis,
) -> Vec<&'a NodeInfo> {
    let enough = enough(candidates.len(), moment.percentage);
    let asked = Asked::of(moment.plugins, |plugin| plugin.filter_reads(state, pod));
    let (mut fitting, mut refusals) = (Vec::with_capacity(enough), Vec::new());
    let mut looked_at = 0;
    let from = start.checked_rem(candidates.len()).unwrap_or(0);
    let (behind, ahead) = candidates.split_at(from);
    for info in ahead.iter().chain(behind) {
        looked_at += 1;
        let coming = !moment.nominations.is_empty() && moment.nominations.on(info.name()).next().is_some();
        let refusal = if coming {
            let place = |name: &str| moment.plugins.iter().position(|plugin| plugin.name() == name);
            refused(moment, state, pod, info)
                .map(|(name, why)| (place(name).unwrap_or_default(), Arc::new(why)))
        } else {
            asked.refusal(state, (pod, &mut *said), info)
        };
        match refusal {
            None => fitting.push(info.as_ref()),
            Some((at, why)) if why.failed => {
                let (name, why) = (moment.plugins.get(at).map_or("", |it| it.name()), why.reasons.join(", "));
                diagnosis.failed = Some(format!("running \"{name}\" filter plugin: {why}"));
                return Vec::new();
            }
            Some(refusal) => refusals.push((info, refusal)),
        }
        if fitting.len() >= enough {
            break;
        }
    }
    // As upstream, it goes on by the number of all nodes, also where only some came into question.
    *start = (*start + looked_at).checked_rem(moment.nodes.nodes().len()).unwrap_or(0);
    // Who gets a node is not told of those that it cannot have; extenders may leave it none.
    if fitting.is_empty() || !moment.extenders.is_empty() {
        for (info, (at, why)) in refusals {
            diagnosis.plugins.extend(moment.plugins.get(at).map(|plugin| plugin.name()));
            diagnosis.rejected.insert(info.name().to_owned(), why.as_ref().clone());
        }
    }
    fitting
}

/// How many fitting nodes are enough, of `nodes`: `percentage` of them.
fn enough(nodes: usize, percentage: usize) -> usize {
    if nodes < ALL_UP_TO {
        return nodes.max(1);
    }
    let percent = match percentage {
        0 => 50usize.saturating_sub(nodes / 125).max(LEAST_PERCENT),
        percentage => percentage.min(100),
    };
    (nodes * percent / 100).max(ALL_UP_TO)
}

/// The nodes that extenders let the pod have.
fn passed<'a>(
    moment: &Moment<'_>,
    pod: &PodInfo,
    fitting: Vec<&'a NodeInfo>,
    diagnosis: &mut Diagnosis,
) -> Vec<&'a NodeInfo> {
    let before = fitting.len();
    let mut rejected = BTreeMap::new();
    let reject = |node, why| {
        rejected.insert(node, why);
    };
    match extender::passed(moment.extenders, pod, fitting, reject) {
        Ok(left) => {
            if left.is_empty() && before > 0 {
                diagnosis.plugins.insert(extender::NAME);
                diagnosis.rejected.extend(rejected);
            }
            left
        }
        Err(error) => {
            diagnosis.failed = Some(error);
            Vec::new()
        }
    }
}

fn best(
    moment: &Moment<'_>,
    state: &mut CycleState,
    fitting: &[&NodeInfo],
    (pod, said): (&PodInfo, &mut Said),
    luck: &mut StdRng,
) -> String {
    for plugin in moment.plugins {
        plugin.pre_score(state, pod, fitting);
    }
    let mut totals = totals(moment.plugins, state, fitting, (pod, said));
    extender::score(moment.extenders, pod, fitting, &mut totals);
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<&&NodeInfo> =
        fitting.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| node).collect();
    let chosen = ties.get(luck.random_range(0..ties.len().max(1)));
    chosen.map(|node| node.name().to_owned()).unwrap_or_default()
}

/// What all rules together give each node.
fn totals(
    plugins: &[Arc<dyn Plugin>],
    state: &CycleState,
    fitting: &[&NodeInfo],
    (pod, said): (&PodInfo, &mut Said),
) -> Vec<i64> {
    let asked = Asked::of(plugins, |plugin| plugin.score_reads(state, pod));
    let mut totals = vec![0i64; fitting.len()];
    let mut add = |plugin: &dyn Plugin, mut scores: Vec<i64>| {
        plugin.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total = total.saturating_add(score.saturating_mul(plugin.weight()));
        }
    };
    let width = asked.node.len();
    let mut rows = Vec::with_capacity(fitting.len() * width);
    for info in fitting {
        said.scores(info, width, &mut rows, |rule| {
            asked.node.get(rule).and_then(|(_, plugin)| plugin.score(state, pod, info)).unwrap_or_default()
        });
    }
    for (column, (_, plugin)) in asked.node.iter().enumerate() {
        add(*plugin, rows.iter().skip(column).step_by(width).copied().collect());
    }
    for (_, plugin) in asked.cluster {
        let scores: Vec<Option<i64>> = fitting.iter().map(|info| plugin.score(state, pod, info)).collect();
        if scores.iter().any(Option::is_some) {
            add(plugin, scores.into_iter().map(Option::unwrap_or_default).collect());
        }
    }
    totals
}

fn make_room(
    moment: &Moment<'_>,
    state: &mut CycleState,
    pod: &PodInfo,
    diagnosis: &mut Diagnosis,
    luck: &mut StdRng,
) {
    let mut search = Search { moment, state, pod, diagnosis, luck };
    let (mut messages, mut claims) = (Vec::new(), Vec::new());
    let mut rules = moment.plugins.iter();
    let room = rules.find_map(|plugin| {
        let mut room = plugin.post_filter(&mut search)?;
        messages.push(std::mem::take(&mut room.message));
        let done = room.claims.is_empty();
        claims.append(&mut room.claims);
        done.then_some(room)
    });
    diagnosis.claims = claims;
    diagnosis.room = Some(messages.join(", ")).filter(|_| !messages.is_empty());
    if let Some(room) = room {
        diagnosis.nomination = room.nomination;
        diagnosis.victims = room.victims;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_nodes() {
        let table = [(1, 1), (99, 99), (100, 100), (150, 100), (1000, 420), (5000, 500), (10000, 500)];
        for (nodes, expected) in table {
            assert_eq!(enough(nodes, 0), expected, "{nodes}");
        }
        assert_eq!([enough(1000, 30), enough(1000, 100), enough(200, 1)], [300, 1000, 100]);
    }
}
