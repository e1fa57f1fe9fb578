//! One number, or one distribution.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Kind, Reading};

/// A value that a family can have.
pub trait Metric: Send + Sync + 'static {
    /// A new one of a family of this kind.
    fn new(kind: Kind) -> Self;
    /// What it is now.
    fn read(&self) -> Reading;
    /// Counts from nothing again; what is not counted, stays.
    fn reset(&self);
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// What was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Counter {
    fn new(_: Kind) -> Self {
        Self::default()
    }

    fn read(&self) -> Reading {
        Reading::Number(self.get() as f64)
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Makes it `value`.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Adds to it.
    pub fn add(&self, value: f64) {
        add(&self.0, value);
    }

    /// What it is.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Metric for Gauge {
    fn new(_: Kind) -> Self {
        Self::default()
    }

    fn read(&self) -> Reading {
        Reading::Number(self.get())
    }

    fn reset(&self) {}
}

/// A distribution over buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Counts a value.
    pub fn observe(&self, value: f64) {
        // Most values are small, and there are few bounds.
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        add(&self.sum, value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl Metric for Histogram {
    fn new(kind: Kind) -> Self {
        let bounds = match kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn read(&self) -> Reading {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Reading::Histogram(counts, f64::from_bits(self.sum.load(Relaxed)))
    }

    fn reset(&self) {
        self.counts.iter().chain([&self.sum]).for_each(|it| it.store(0, Relaxed));
    }
}

fn add(sum: &AtomicU64, value: f64) {
    let _ = sum.fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + value).to_bits()));
}
