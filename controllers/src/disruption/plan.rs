//! What a budget's status should say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};

use crate::pod::is_ready;

/// How long an evicted pod may take until it is deleted.
const DELETION: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// What a status is made from.
pub(super) struct Observed {
    pub(super) budget: Arc<PodDisruptionBudget>,
    /// The pods that it selects.
    pub(super) pods: Vec<Arc<Pod>>,
    /// How many pods their controllers want in all, where the budget asks for it.
    pub(super) scale: i32,
}

/// What is to be done.
pub(super) struct Plan {
    /// The status, if that is another than there is.
    pub(super) status: Option<PodDisruptionBudgetStatus>,
    /// Pods that were to be deleted, and were not.
    pub(super) overdue: Vec<Arc<Pod>>,
    /// When the next one becomes so.
    pub(super) recheck: Option<Duration>,
}

/// True when the budget can only be told from what the pods' controllers want.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The status that the budget should have.
/// # Errors
/// The budget's numbers cannot be read.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Result<Plan, String> {
    let budget = &*observed.budget;
    let old = budget.status.clone().unwrap_or_default();
    let (expected, desired) = expected(observed)?;
    let disrupted = disrupted(observed, &old, now);
    let healthy = observed.pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none() && !disrupted.pods.contains_key(name) && is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    // Without pods nothing is allowed: the first may come before this is seen.
    let allowed = if expected <= 0 { 0 } else { healthy.saturating_sub(desired).max(0) };
    let mut status = PodDisruptionBudgetStatus {
        conditions: old.conditions.clone(),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(disrupted.pods).filter(|pods| !pods.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
    };
    let condition = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, condition.0, condition.1, "", now);
    let comparable = |status: &PodDisruptionBudgetStatus| PodDisruptionBudgetStatus {
        disrupted_pods: status.disrupted_pods.clone().filter(|pods| !pods.is_empty()),
        current_healthy: Some(status.current_healthy.unwrap_or(0)),
        desired_healthy: Some(status.desired_healthy.unwrap_or(0)),
        disruptions_allowed: Some(status.disruptions_allowed.unwrap_or(0)),
        expected_pods: Some(status.expected_pods.unwrap_or(0)),
        ..status.clone()
    };
    let changed = comparable(&old) != comparable(&status);
    Ok(Plan { status: changed.then_some(status), overdue: disrupted.overdue, recheck: disrupted.recheck })
}

/// How many pods there should be, and how many of them healthy.
fn expected(observed: &Observed) -> Result<(i32, i32), String> {
    let Some(spec) = &observed.budget.spec else { return Ok((0, 0)) };
    let count = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let most = scaled(most, observed.scale)?;
            Ok((observed.scale, observed.scale.saturating_sub(most).max(0)))
        }
        (None, Some(IntOrString::Int(least))) => Ok((count, *least)),
        (None, Some(least)) => Ok((observed.scale, scaled(least, observed.scale)?)),
        (None, None) => Ok((0, 0)),
    }
}

fn scaled(value: &IntOrString, of: i32) -> Result<i32, String> {
    let text = match value {
        IntOrString::Int(number) => return Ok(*number),
        IntOrString::String(text) => text,
    };
    let Some(number) = text.strip_suffix('%') else {
        return Err("invalid value for IntOrString: invalid type: string is not a percentage".to_owned());
    };
    let percent: i64 = number.parse().map_err(|_| {
        format!("invalid value for IntOrString: invalid value {text:?}: strconv.Atoi: parsing {number:?}: invalid syntax")
    })?;
    let product = i128::from(percent) * i128::from(of);
    // Rounded up.
    let share = product.div_euclid(100) + i128::from(product.rem_euclid(100) != 0);
    Ok(i32::try_from(share).unwrap_or(i32::MAX))
}

struct Disrupted {
    pods: BTreeMap<String, Time>,
    overdue: Vec<Arc<Pod>>,
    recheck: Option<Duration>,
}

/// The evicted pods that are still to be deleted.
fn disrupted(observed: &Observed, old: &PodDisruptionBudgetStatus, now: Timestamp) -> Disrupted {
    let mut found = Disrupted { pods: BTreeMap::new(), overdue: Vec::new(), recheck: None };
    let Some(known) = &old.disrupted_pods else { return found };
    for pod in observed.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(since) = known.get(&name) else { continue };
        let deadline = since.0.checked_add(DELETION).unwrap_or(Timestamp::MAX);
        if deadline < now {
            found.overdue.push(pod.clone());
            continue;
        }
        // Then it has passed, and not only come.
        let left = deadline.duration_since(now).unsigned_abs() + Duration::from_millis(1);
        found.recheck = Some(found.recheck.map_or(left, |other| other.min(left)));
        found.pods.insert(name, since.clone());
    }
    found
}

/// The status of a budget whose state could not be told: nothing is allowed.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    for required in [&mut status.current_healthy, &mut status.desired_healthy, &mut status.expected_pods] {
        required.get_or_insert(0);
    }
    set_condition(&mut status, "False", "SyncFailed", why, now);
    status
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| condition.type_ == ALLOWED);
    let since = known.and_then(|at| conditions.get(at)).filter(|known| known.status == value);
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let condition = Condition {
        type_: ALLOWED.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since.map_or(now, |known| known.last_transition_time.clone()),
    };
    match known.and_then(|at| conditions.get_mut(at)) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}
