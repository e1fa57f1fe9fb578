//! How full a node should be.

use serde::Deserialize;

use super::{Share, Weighed, cpu_and_memory, share};
use crate::{cache::NodeInfo, plugin::BEST, pod::PodInfo};

/// The scale of the scores in a shape.
const SHAPE_BEST: i64 = 10;

/// Upstream's `ScoringStrategy`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Strategy {
    /// How.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What counts.
    pub resources: Vec<Weighed>,
    /// For `RequestedToCapacityRatio`.
    pub requested_to_capacity_ratio: Option<Ratio>,
}

/// How scores follow from how full a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Kind {
    /// Emptier nodes are better.
    #[default]
    LeastAllocated,
    /// Fuller nodes are better.
    MostAllocated,
    /// As a shape says.
    RequestedToCapacityRatio,
}

/// The shape of scores.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ratio {
    /// Its points, by utilization.
    pub shape: Vec<Point>,
}

/// One point of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Point {
    /// From 0 to 100.
    pub utilization: i64,
    /// From 0 to 10.
    pub score: i64,
}

impl Default for Strategy {
    fn default() -> Self {
        let kind = Kind::LeastAllocated;
        Self { kind, resources: cpu_and_memory(), requested_to_capacity_ratio: None }
    }
}

impl Strategy {
    /// The score of `node` for `pod`.
    pub(super) fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let mut sum = 0i64;
        let mut weights = 0i64;
        for resource in &self.resources {
            let Some(share) = share(&resource.name, &node.scoring, &pod.wanting, node) else { continue };
            let score = match self.kind {
                Kind::LeastAllocated => least(&share),
                Kind::MostAllocated => part(share.after.min(share.capacity), share.capacity),
                Kind::RequestedToCapacityRatio => match self.shaped(&share) {
                    // What is worth nothing does not count at all.
                    score if score <= 0 => continue,
                    score => score,
                },
            };
            sum += score * resource.weight;
            weights += resource.weight;
        }
        match self.kind {
            _ if weights == 0 => 0,
            Kind::RequestedToCapacityRatio => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }

    fn shaped(&self, share: &Share) -> i64 {
        let utilization = if share.after > share.capacity { BEST } else { part(share.after, share.capacity) };
        let shape = self.requested_to_capacity_ratio.as_ref().map(|ratio| ratio.shape.as_slice());
        shaped(shape.unwrap_or_default(), utilization)
    }
}

fn least(share: &Share) -> i64 {
    if share.after > share.capacity { 0 } else { part(share.capacity - share.after, share.capacity) }
}

/// So many of a hundred.
fn part(of: i64, capacity: i64) -> i64 {
    i64::try_from(i128::from(of) * i128::from(BEST) / i128::from(capacity)).unwrap_or(0)
}

/// The score that lies on the line through the points of `shape`.
pub(in super::super) fn shaped(shape: &[Point], utilization: i64) -> i64 {
    let scaled = |point: &Point| point.score * (BEST / SHAPE_BEST);
    let mut before: Option<&Point> = None;
    for point in shape {
        if utilization <= point.utilization {
            return before.map_or(scaled(point), |before| {
                let rise = (scaled(point) - scaled(before)) * (utilization - before.utilization);
                let run = point.utilization - before.utilization;
                scaled(before) + rise.checked_div(run).unwrap_or(0)
            });
        }
        before = Some(point);
    }
    before.map_or(0, scaled)
}
