//! The values of one name, by their labels.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, RwLock},
};

use super::{Desc, Gathered, Metric, Sample, Source};

// No bug, and no client, may make a scrape endless.
const MOST: usize = 20_000;

/// The values of one name.
pub struct Family<M> {
    desc: &'static Desc,
    hasher: RandomState,
    // By the hash of the labels.
    series: RwLock<HashMap<u64, Vec<Series<M>>>>,
}

struct Series<M> {
    labels: Box<[Box<str>]>,
    metric: Arc<M>,
}

impl<M: Metric> Family<M> {
    /// A family without values.
    pub fn new(desc: &'static Desc) -> Self {
        Self { desc, hasher: RandomState::new(), series: RwLock::default() }
    }

    /// The value under these labels, made when it is not there. Past 20,000 of
    /// them it counts, but is not shown.
    pub fn with(&self, labels: &[&str]) -> Arc<M> {
        debug_assert_eq!(labels.len(), self.desc.labels.len(), "{}", self.desc.name);
        let hash = self.hasher.hash_one(labels);
        let same = |series: &&Series<M>| series.labels.iter().map(|it| &**it).eq(labels.iter().copied());
        let known = self.series.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = known.get(&hash).and_then(|all| all.iter().find(same)) {
            return found.metric.clone();
        }
        drop(known);
        let mut known = self.series.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let full = known.len() >= MOST;
        if let Some(found) = known.get(&hash).and_then(|all| all.iter().find(same)) {
            return found.metric.clone();
        }
        let metric = Arc::new(M::new(self.desc.kind));
        if !full {
            let labels = labels.iter().map(|&it| it.into()).collect();
            known.entry(hash).or_default().push(Series { labels, metric: metric.clone() });
        }
        metric
    }
}

impl<M: Metric> Source for Family<M> {
    fn gather(&self, out: &mut Vec<Gathered>) {
        let known = self.series.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let samples = known.values().flatten().map(|series| Sample {
            labels: series.labels.iter().map(|it| it.to_string()).collect(),
            value: series.metric.read(),
        });
        out.push(Gathered { desc: self.desc, samples: samples.collect() });
    }

    fn reset(&self) {
        let known = self.series.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.values().flatten().for_each(|series| series.metric.reset());
    }
}
