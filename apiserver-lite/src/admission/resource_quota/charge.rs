//! What a write costs, and whether its quotas have it.

use coracle_api::{
    Quantity,
    quota::{Amounts, Evaluator, Scope, amounts},
};
use jiff::Timestamp;
use serde_json::Value;

/// A quota, as far as charging goes.
#[derive(Debug)]
pub(super) struct Quota {
    name: String,
    hard: Amounts,
    used: Amounts,
    scopes: Vec<Scope>,
}

impl Quota {
    /// Reads a `ResourceQuota`.
    pub(super) fn read(object: &Value) -> Self {
        Self {
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            hard: amounts(&object["status"]["hard"]),
            used: amounts(&object["status"]["used"]),
            scopes: Scope::of(object),
        }
    }

    /// The names that it limits and `evaluator` measures.
    fn limited(&self, evaluator: &Evaluator) -> Vec<&str> {
        self.hard.keys().map(String::as_str).filter(|name| evaluator.measures(name)).collect()
    }
}

/// A write.
pub(super) struct Charge {
    pub(super) evaluator: Evaluator,
    pub(super) new: Value,
    /// What it changes.
    pub(super) old: Option<Value>,
    /// Whether it tells what is so already: that is charged and never refused.
    pub(super) of_status: bool,
    pub(super) now: Timestamp,
}

/// What is used of each quota, by its index, once `charge` is made; only of
/// those that it changes.
/// # Errors
/// Why the write is refused.
pub(super) fn charges(quotas: &[Quota], charge: &Charge) -> Result<Vec<(usize, Amounts)>, String> {
    let evaluator = &charge.evaluator;
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let limited = quota.limited(evaluator);
        if limited.is_empty() || !evaluator.in_scope(&quota.scopes, &charge.new) {
            continue;
        }
        if let Some(missing) = evaluator.missing(&limited, &charge.new) {
            return Err(format!("failed quota: {}: {missing}", quota.name));
        }
        if limited.iter().any(|name| !quota.used.contains_key(*name)) {
            return Err(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name,
                limited.join(",")
            ));
        }
        concerned.push((index, quota));
    }
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let usage = evaluator.usage(&charge.new, charge.now);
    let negative: Vec<&str> =
        usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = charge.old.as_ref().map(|old| (old, evaluator.usage(old, charge.now)));
    let mut charged = Vec::new();
    for (index, quota) in concerned {
        // What was not in the quota's scope before is charged in full.
        let paid = before.as_ref().filter(|(old, _)| evaluator.in_scope(&quota.scopes, old));
        let cost = cost(&usage, paid.map(|(_, paid)| paid), quota);
        if !cost.is_empty() {
            charged.push((index, added(quota, &cost, charge.of_status)?));
        }
    }
    Ok(charged)
}

/// What is to be paid beyond what was. Nothing is given back here.
fn cost(usage: &Amounts, paid: Option<&Amounts>, quota: &Quota) -> Amounts {
    let more = usage.iter().filter(|(name, _)| quota.hard.contains_key(*name)).map(|(name, amount)| {
        let paid = paid.and_then(|paid| paid.get(name));
        (name.clone(), paid.map_or_else(|| amount.clone(), |paid| amount.minus(paid)))
    });
    more.filter(|(_, amount)| amount.sign() > 0).collect()
}

fn added(quota: &Quota, cost: &Amounts, of_status: bool) -> Result<Amounts, String> {
    let mut used = quota.used.clone();
    let mut exceeded = Vec::new();
    for (name, amount) in cost {
        let sum = used.get(name).map_or_else(|| amount.clone(), |known| known.plus(amount));
        if quota.hard.get(name).is_some_and(|limit| sum > *limit) {
            exceeded.push(name);
        }
        used.insert(name.clone(), sum);
    }
    if exceeded.is_empty() || of_status {
        return Ok(used);
    }
    let shown = |amounts: &Amounts| {
        let of = |name: &&String| format!("{name}={}", amounts.get(name.as_str()).unwrap_or(&Quantity::ZERO));
        exceeded.iter().map(of).collect::<Vec<_>>().join(",")
    };
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.name,
        shown(cost),
        shown(&quota.used),
        shown(&quota.hard)
    ))
}
