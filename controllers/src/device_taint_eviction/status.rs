//! What is told of a rule: how far the eviction is, or what it would do.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{DeviceTaintRule, ResourceSlice},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use super::eviction::{World, newest, pool_keys};
use crate::{
    devices::{BY_CLAIM, results, taints},
    framework::{Key, Store},
};

const TYPE: &str = "EvictionInProgress";

/// What is counted for a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Devices that are published.
    pub(super) published: usize,
    /// Devices of claims.
    pub(super) allocated: usize,
    /// Pods that have to go, or would have to.
    pub(super) pods: usize,
    /// In so many namespaces.
    pub(super) namespaces: usize,
    /// Pods that went.
    pub(super) evicted: u64,
}

fn known(rule: &DeviceTaintRule) -> Option<&Condition> {
    let conditions = rule.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|condition| condition.type_ == TYPE)
}

/// How long the rule's status is left as it is.
pub(super) fn rest(rule: &DeviceTaintRule, now: Timestamp, period: Duration) -> Option<Duration> {
    let known = known(rule).filter(|known| known.observed_generation == rule.metadata.generation)?;
    let since = now.as_millisecond().saturating_sub(known.last_transition_time.0.as_millisecond());
    let since = Duration::from_millis(u64::try_from(since).unwrap_or(0));
    period.checked_sub(since).filter(|left| !left.is_zero())
}

/// Counts what the rule selects, and who goes because of it. A rule without
/// effect is looked at as if it drove pods away.
pub(super) fn count(
    rule: &Arc<DeviceTaintRule>,
    world: &World<'_>,
    pods: &Store<Pod>,
    evicted: u64,
) -> Counts {
    let mut counts = Counts { evicted, ..Counts::default() };
    let effect = rule.spec.taint.effect.as_str();
    if !["None", "NoExecute"].contains(&effect) {
        return counts;
    }
    let mut rules = world.rules.clone();
    if effect == "None" {
        let mut driving = DeviceTaintRule::clone(rule);
        driving.spec.taint.effect = "NoExecute".to_owned();
        rules.push(Arc::new(driving));
        counts.published = published(rule, world);
    }
    let world = World { rules, ..*world };
    let (mut seen, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for claim in world.claims.all() {
        let matching = results(&claim).iter().filter(|it| taints(rule, &it.driver, &it.pool, &it.device));
        let matching = matching.count();
        if matching == 0 {
            continue;
        }
        counts.allocated += matching;
        for pod in pods.indexed(BY_CLAIM, &Key::of(&claim.metadata).to_string()) {
            let key = Key::of(&pod.metadata);
            if pod.metadata.deletion_timestamp.is_some() || !seen.insert(key.clone()) {
                continue;
            }
            let due = world.due(&pod);
            if due.is_some_and(|due| due.rules.iter().any(|it| Some(&it.uid) == rule.metadata.uid.as_ref())) {
                counts.pods += 1;
                namespaces.insert(key.namespace);
            }
        }
    }
    counts.namespaces = namespaces.len();
    counts
}

fn published(rule: &DeviceTaintRule, world: &World<'_>) -> usize {
    let slices = world.slices.all();
    let mut pools: Vec<String> = slices.iter().flat_map(|slice| pool_keys(slice)).collect();
    pools.sort();
    pools.dedup();
    let count = |slice: &Arc<ResourceSlice>| {
        let (driver, pool) = (&slice.spec.driver, &slice.spec.pool.name);
        let devices = slice.spec.devices.iter().flatten();
        devices.filter(|device| taints(rule, driver, pool, &device.name)).count()
    };
    let of =
        |pool: &String| newest(world.slices.indexed(super::BY_POOL, pool)).iter().map(count).sum::<usize>();
    pools.iter().map(of).sum()
}

/// The condition that the rule is to have; none when it has it.
pub(super) fn condition(rule: &DeviceTaintRule, counts: &Counts, now: Timestamp) -> Option<Condition> {
    let (reason, mut message) = told(rule, counts);
    if counts.evicted > 0 {
        if !message.is_empty() {
            message.push(' ');
        }
        let pods = if counts.evicted == 1 { "1 pod".to_owned() } else { format!("{} pods", counts.evicted) };
        message += &format!("{pods} evicted since starting the controller.");
    }
    let status = if reason == "PodsPendingEviction" { "True" } else { "False" };
    let same = known(rule).is_some_and(|known| {
        (known.reason.as_str(), known.message.as_str(), known.status.as_str()) == (reason, &message, status)
            && known.observed_generation == rule.metadata.generation
    });
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    (!same).then(|| Condition {
        last_transition_time: Time(now),
        message,
        observed_generation: rule.metadata.generation,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: TYPE.to_owned(),
    })
}

fn told(rule: &DeviceTaintRule, counts: &Counts) -> (&'static str, String) {
    let Counts { published, allocated, pods, namespaces, evicted } = *counts;
    let several = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let places = several(namespaces, "namespace", "different namespaces");
    match rule.spec.taint.effect.as_str() {
        "NoExecute" if pods > 0 => {
            let pods = several(pods, "pod needs", "pods need");
            ("PodsPendingEviction", format!("{pods} to be evicted in {places}."))
        }
        "NoExecute" if evicted > 0 => ("Completed", String::new()),
        "NoExecute" => ("NotStarted", String::new()),
        "None" => {
            let message = format!(
                "{} selected. {} selected. {} would be evicted in {places} if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.",
                several(published, "published device", "published devices"),
                several(allocated, "allocated device", "allocated devices"),
                several(pods, "pod", "pods"),
            );
            ("NoEffect", message)
        }
        _ => ("OtherEffect", "Eviction only happens for the NoExecute effect.".to_owned()),
    }
}
