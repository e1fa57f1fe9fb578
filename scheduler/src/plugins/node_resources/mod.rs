//! What nodes have and pods ask for: `fit.rs` is what must hold, the scores
//! of `strategy.rs` and `balance.rs` what is better.

mod balance;
mod fit;
mod strategy;

pub(super) use balance::BalancedAllocation;
pub(super) use fit::NodeResourcesFit;
pub(super) use strategy::{Point, shaped};

use serde::Deserialize;

use crate::{
    cache::NodeInfo,
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, Resources},
};

/// A resource that is scored, and how much it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Weighed {
    /// Which.
    pub name: String,
    /// How much; nothing is 1.
    #[serde(default = "one")]
    pub weight: i64,
}

fn one() -> i64 {
    1
}

/// CPU and memory, equally.
fn cpu_and_memory() -> Vec<Weighed> {
    [CPU, MEMORY].map(|name| Weighed { name: name.into(), weight: 1 }).into()
}

/// One resource of a node that is scored.
struct Share {
    /// What pods ask for now.
    before: i64,
    /// The same with the pod that is to be placed.
    after: i64,
    /// What there is; more than nothing.
    capacity: i64,
}

/// The share of `name` in use on the node; `None` when it does not matter.
fn share(name: &str, used: &Resources, asked: &Resources, node: &NodeInfo) -> Option<Share> {
    let asked = asked.amount(name);
    // What the pod does not ask for says nothing, but for what all nodes have.
    if asked == 0 && ![CPU, MEMORY, EPHEMERAL_STORAGE].contains(&name) {
        return None;
    }
    let capacity = node.allocatable.amount(name);
    let before = if [CPU, MEMORY].contains(&name) { used.amount(name) } else { node.requested.amount(name) };
    (capacity != 0).then(|| Share { before, after: before.saturating_add(asked), capacity })
}
