//! Many measurements of one thing, and what they come to.

use std::time::Duration;

/// Latencies, or anything else that is measured as a time.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    sorted: Vec<Duration>,
}

impl Sample {
    /// Takes measurements in any order.
    pub fn of(mut measurements: Vec<Duration>) -> Self {
        measurements.sort_unstable();
        Self { sorted: measurements }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest measurement that at least `percent` of all do not exceed (nearest rank); zero of none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// The middle one of `values`, or the mean of the two middle ones; none of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(sorted.len() / 2 - 1)? + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let check = |measurements: &[u64], percent: f64, expected: u64| {
            let sample = Sample::of(measurements.iter().copied().map(Duration::from_millis).collect());
            assert_eq!(
                sample.percentile(percent),
                Duration::from_millis(expected),
                "{measurements:?} {percent}"
            );
        };
        check(&[], 50.0, 0);
        check(&[7], 99.0, 7);
        check(&[3, 1, 2], 50.0, 2);
        check(&[4, 3, 2, 1], 50.0, 2);
        check(&[4, 3, 2, 1], 99.0, 4);
        check(&[1, 2], 0.0, 1);
    }

    #[test]
    fn medians() {
        let check =
            |values: &[f64], expected: Option<f64>| assert_eq!(median(values), expected, "{values:?}");
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[3.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0, 2.0, 3.0], Some(2.5));
    }
}
