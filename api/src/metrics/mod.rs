//! Counters, gauges and histograms, as Prometheus knows them.
//!
//! A [`Family`] has a name, labels, and one value for each set of them. A
//! [`Registry`] is where all that one process measures comes together;
//! [`Registry::gather`] is what a scrape sees, and [`write_text`] and
//! [`write_protobuf`] are its forms on the wire.
//!
//! Counting is an atomic addition on a handle ([`Family::with`]), which who
//! counts often keeps.

mod family;
mod protobuf;
mod text;
mod value;

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

pub use family::Family;
pub use protobuf::write as write_protobuf;
pub use text::write as write_text;
pub use value::{Counter, Gauge, Histogram, Metric};

/// What a family is: facts that scrapers rely on.
#[derive(Debug, PartialEq)]
pub struct Desc {
    /// Its name.
    pub name: &'static str,
    /// What it tells, with upstream's `[STABLE]` and the like before it.
    pub help: &'static str,
    /// What it measures by.
    pub kind: Kind,
    /// The names of its labels, in the order that values are given in.
    pub labels: &'static [&'static str],
}

/// The kind of a family's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number.
    Gauge,
    /// How many observations were at most so large: the upper bounds, without the infinite one.
    Histogram(&'static [f64]),
}

/// A family at one moment.
pub struct Gathered {
    /// What it is.
    pub desc: &'static Desc,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// One value of a family.
pub struct Sample {
    /// The values of the labels, in the order of [`Desc::labels`].
    pub labels: Vec<String>,
    /// The value.
    pub value: Reading,
}

/// What was read of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram: by bucket (not cumulated, the infinite one last) and the sum.
    Histogram(Vec<u64>, f64),
}

impl Reading {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(it), Self::Number(other)) => *it += other,
            (Self::Histogram(counts, sum), Self::Histogram(others, other)) => {
                counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
                *sum += other;
            }
            _ => {}
        }
    }
}

impl Sample {
    /// A number under labels.
    pub fn number(labels: &[&str], value: f64) -> Self {
        let labels = labels.iter().map(|&it| it.to_owned()).collect();
        Self { labels, value: Reading::Number(value) }
    }
}

/// Something that has values when a scrape asks.
pub trait Source: Send + Sync {
    /// Adds what there is now.
    fn gather(&self, out: &mut Vec<Gathered>);

    /// Counts from nothing again. What is not counted, stays.
    fn reset(&self) {}
}

impl<F: Fn(&mut Vec<Gathered>) + Send + Sync> Source for F {
    fn gather(&self, out: &mut Vec<Gathered>) {
        self(out);
    }
}

/// All that is measured for one scrape.
#[derive(Default)]
pub struct Registry {
    sources: RwLock<Vec<Arc<dyn Source>>>,
}

impl Registry {
    /// A family that is part of every scrape from now on.
    pub fn family<M: Metric>(&self, desc: &'static Desc) -> Arc<Family<M>> {
        let family = Arc::new(Family::new(desc));
        self.add(family.clone());
        family
    }

    /// Counts from nothing again.
    pub fn reset(&self) {
        let sources = self.sources.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        sources.iter().for_each(|source| source.reset());
    }

    /// Asks `source` too, from now on.
    pub fn add(&self, source: Arc<dyn Source>) {
        self.sources.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(source);
    }

    /// All families that have values, by name. Those of one name are one.
    pub fn gather(&self) -> Vec<Gathered> {
        let sources = self.sources.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let mut all = Vec::new();
        for source in sources {
            source.gather(&mut all);
        }
        merged(all)
    }
}

/// Families by name, those of one name as one, their values in order. Values
/// under the same labels are added up.
pub fn merged(all: Vec<Gathered>) -> Vec<Gathered> {
    let mut by_name: BTreeMap<&str, Gathered> = BTreeMap::new();
    for mut gathered in all.into_iter().filter(|it| !it.samples.is_empty()) {
        match by_name.get_mut(gathered.desc.name) {
            Some(known) => known.samples.append(&mut gathered.samples),
            None => {
                by_name.insert(gathered.desc.name, gathered);
            }
        }
    }
    let mut all: Vec<Gathered> = by_name.into_values().collect();
    for gathered in &mut all {
        let order = gathered.desc.sorted();
        gathered.samples.sort_by(|a, b| {
            let key = |sample: &Sample, at: usize| sample.labels.get(at).cloned();
            order.iter().map(|&at| key(a, at)).cmp(order.iter().map(|&at| key(b, at)))
        });
        gathered.samples.dedup_by(|next, first| {
            let same = next.labels == first.labels;
            if same {
                first.value.add(&next.value);
            }
            same
        });
    }
    all
}

impl Desc {
    // The indexes of the labels, by name: their order on the wire.
    fn sorted(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.sort_by_key(|&at| self.labels[at]);
        order
    }
}

#[cfg(test)]
mod tests;
