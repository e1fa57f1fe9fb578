//! Sets of indexes as a Job's status writes them: `1,3-5,7`.

use std::fmt;

/// Intervals, sorted, with a gap between any two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// What `text` lists below `completions`. Parts that are none are left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
                && first < completions
                && first <= last
            {
                indexes.push(first, last.min(completions - 1));
            }
        }
        indexes
    }

    fn push(&mut self, first: i32, last: i32) {
        match self.0.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// These and those.
    pub(super) fn with(&self, others: impl IntoIterator<Item = i32>) -> Self {
        let mut all = self.0.clone();
        all.extend(others.into_iter().map(|index| (index, index)));
        Self::of(all)
    }

    /// These and those.
    pub(super) fn merged(&self, others: &Self) -> Self {
        Self::of(self.0.iter().chain(&others.0).copied().collect())
    }

    fn of(mut intervals: Vec<(i32, i32)>) -> Self {
        intervals.sort_unstable();
        let mut indexes = Self::default();
        intervals.into_iter().for_each(|(first, last)| indexes.push(first, last));
        indexes
    }

    /// How many there are.
    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether `index` is one of them.
    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many of these are among those.
    pub(super) fn common(&self, others: &Self) -> i32 {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), others.0.iter().peekable());
        let mut common = 0;
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            common += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            // What ends first meets nothing more.
            if a.1 < b.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        common
    }

    /// The first `count` below `completions` that are not among them.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            while next < first.min(completions) && found.len() < count {
                found.push(next);
                next += 1;
            }
            next = next.max(last.saturating_add(1));
        }
        found
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_joined_and_written() {
        let check = |text: &str, more: &[i32], written: &str, total: i32, missing: &[i32]| {
            let indexes = Indexes::parse(text, 10).with(more.iter().copied());
            assert_eq!((indexes.to_string().as_str(), indexes.total()), (written, total), "{text} {more:?}");
            assert_eq!(indexes.missing(3, 10), missing, "{text} {more:?}");
        };
        check("", &[], "", 0, &[0, 1, 2]);
        check("", &[3, 1], "1,3", 2, &[0, 2, 4]);
        check("1,3-5", &[2], "1-5", 5, &[0, 6, 7]);
        check("0-1", &[9], "0,1,9", 3, &[2, 3, 4]);
        check("0-20", &[], "0-9", 10, &[]);
        check("x,4", &[], "4", 1, &[0, 1, 2]);
        check("5-3,-2,4", &[], "4", 1, &[0, 1, 2]);
    }

    #[test]
    fn sets_are_compared() {
        let of = |text: &str| Indexes::parse(text, 100);
        assert!(of("1-3,7").has(2) && of("1-3,7").has(7) && !of("1-3,7").has(5) && !of("").has(0));
        assert_eq!(of("1-5,8").common(&of("4-9")), 3);
        assert_eq!(of("1,3-4,8-9").common(&of("0-3,9")), 3);
        assert_eq!(of("").common(&of("1")), 0);
        assert_eq!(of("1").merged(&of("2-3")).to_string(), "1-3");
    }
}
