//! What a quota's status should say.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::{
    Quantity as Amount,
    quantity::Family,
    quota::{Amounts, Evaluator, Scope, add},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ResourceQuota, ResourceQuotaStatus},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::Value;

/// What was found to be used, by the names that a quota limits.
pub(super) struct Used<'a> {
    names: &'a BTreeSet<String>,
    scopes: &'a [Scope],
    now: Timestamp,
    amounts: Amounts,
}

impl<'a> Used<'a> {
    /// Nothing is known yet of these names.
    pub(super) fn new(names: &'a BTreeSet<String>, scopes: &'a [Scope], now: Timestamp) -> Self {
        Self { names, scopes, now, amounts: Amounts::new() }
    }

    fn measured<'b>(&'b self, evaluator: &'b Evaluator) -> impl Iterator<Item = &'a String> + 'b {
        self.names.iter().filter(|name| evaluator.measures(name))
    }

    fn begin(&mut self, evaluator: &Evaluator) -> bool {
        let names: Vec<&String> = self.measured(evaluator).collect();
        for name in &names {
            self.amounts.entry((*name).clone()).or_insert(Amount::ZERO);
        }
        !names.is_empty()
    }

    /// Adds what the objects use, if the quota limits any of it.
    pub(super) fn measure(&mut self, evaluator: &Evaluator, objects: impl FnOnce() -> Vec<Value>) {
        if !self.begin(evaluator) {
            return;
        }
        for object in objects() {
            if evaluator.in_scope(self.scopes, &object) {
                let mut usage = evaluator.usage(&object, self.now);
                usage.retain(|name, _| self.names.contains(name));
                add(&mut self.amounts, &usage);
            }
        }
    }

    /// Adds that many objects of a kind that is only counted. None is in any scope.
    pub(super) fn count(&mut self, evaluator: &Evaluator, count: impl FnOnce() -> usize) {
        if !self.begin(evaluator) || !self.scopes.is_empty() {
            return;
        }
        let count = Amount::new(i64::try_from(count()).unwrap_or(i64::MAX), Family::DecimalSi);
        let counts = self.measured(evaluator).map(|name| (name.clone(), count.clone())).collect();
        add(&mut self.amounts, &counts);
    }

    /// The names that nothing has measured.
    pub(super) fn unmeasured(&self) -> Vec<String> {
        self.names.iter().filter(|name| !self.amounts.contains_key(*name)).cloned().collect()
    }
}

type Shown = BTreeMap<String, Quantity>;

/// The status of the quota, if that is another than it has.
pub(super) fn plan(quota: &ResourceQuota, used: Used<'_>) -> Option<ResourceQuotaStatus> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let old = quota.status.clone().unwrap_or_default();
    // What nobody can count any more stays as it was counted last.
    let mut shown: Shown = old.used.clone().unwrap_or_default();
    shown.retain(|name, _| hard.contains_key(name));
    shown.extend(used.amounts.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))));
    let known = old.hard.is_some() && old.used.is_some();
    if known && same(old.hard.as_ref(), &hard) && same(old.used.as_ref(), &shown) {
        return None;
    }
    Some(ResourceQuotaStatus { hard: Some(hard), used: Some(shown) })
}

/// Whether less is used by `status` than the quota says.
pub(super) fn lowers(quota: &ResourceQuota, status: &ResourceQuotaStatus) -> bool {
    let amount = |text: &Quantity| Amount::parse(&text.0).ok();
    let old = quota.status.iter().flat_map(|status| status.used.iter().flatten());
    old.into_iter().any(|(name, old)| {
        let new = status.used.as_ref().and_then(|used| used.get(name)).and_then(amount);
        new.zip(amount(old)).is_some_and(|(new, old)| new.minus(&old).sign() < 0)
    })
}

fn same(one: Option<&Shown>, other: &Shown) -> bool {
    let none = Shown::new();
    let one = one.unwrap_or(&none);
    let equal = |a: &Quantity, b: &Quantity| match (Amount::parse(&a.0), Amount::parse(&b.0)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    one.len() == other.len()
        && one.iter().all(|(name, amount)| other.get(name).is_some_and(|other| equal(amount, other)))
}
