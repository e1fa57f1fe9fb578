//! Whose turn it is: which Stage an object waits for, and since when.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::compiled::Stage;

/// An object may be played so often at once, and then once in [`EVERY`]: Stages
/// that lead to each other without a delay are no busy loop.
const BURST: i32 = 10;
const EVERY: SignedDuration = SignedDuration::from_secs(1);

/// One object's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The Stages that select it, by their ids, when one was drawn.
    candidates: Vec<u64>,
    /// The one, and when it is played.
    drawn: Option<(Arc<Stage>, Timestamp)>,
    /// When all that was played would have been, at the lasting rate.
    paid: Option<Timestamp>,
    /// The revision that was written last: older ones tell nothing.
    written: u64,
}

/// What is to be done with an object.
#[derive(Debug, Clone)]
pub(crate) enum Course {
    /// No Stage selects it.
    Free,
    /// It waits so long, or until it changes.
    Wait(Option<Duration>),
    /// It is time.
    Play(Arc<Stage>),
}

impl Turn {
    /// The object is as it was before the last Stage was played.
    pub(super) fn is_past(&self, revision: u64) -> bool {
        revision != 0 && revision < self.written
    }

    /// The Stage that it waits for.
    pub(super) fn drawn(&self) -> Option<&Arc<Stage>> {
        self.drawn.as_ref().map(|(stage, _)| stage)
    }

    /// Whether another has to be drawn for these.
    pub(super) fn is_over(&self, candidates: &[Arc<Stage>]) -> bool {
        self.drawn.is_none() || !candidates.iter().map(|stage| stage.id).eq(self.candidates.iter().copied())
    }

    /// `stage`, drawn of `candidates`, is played at `due`.
    pub(super) fn draw(&mut self, candidates: &[Arc<Stage>], stage: Arc<Stage>, due: Timestamp) {
        self.candidates = candidates.iter().map(|stage| stage.id).collect();
        self.drawn = Some((stage, due));
    }

    /// No Stage selects the object any more; true when nothing is left to remember.
    pub(super) fn clear(&mut self, now: Timestamp) -> bool {
        self.drawn = None;
        self.candidates.clear();
        self.paid.is_none_or(|paid| paid <= now)
    }

    /// What to do now.
    pub(super) fn course(&self, now: Timestamp) -> Course {
        let Some((stage, due)) = &self.drawn else { return Course::Free };
        let allowed = self.paid.and_then(|paid| paid.checked_sub(EVERY * (BURST - 1)).ok());
        let at = allowed.map_or(*due, |allowed| allowed.max(*due));
        if at <= now {
            return Course::Play(stage.clone());
        }
        let wait = at.duration_since(now).unsigned_abs();
        Course::Wait(Some(wait.max(Duration::from_millis(1))))
    }

    /// It was tried; that counts as much as if it had been played.
    pub(super) fn tried(&mut self, now: Timestamp) {
        let since = self.paid.map_or(now, |paid| paid.max(now));
        self.paid = since.checked_add(EVERY).ok();
    }

    /// It was played, and `revision` is what came of it.
    pub(super) fn played(&mut self, revision: u64, now: Timestamp) {
        self.drawn = None;
        self.candidates.clear();
        self.written = self.written.max(revision);
        self.tried(now);
    }
}

/// Which of Stages with these weights, as KWOK has it: each as often as its
/// weight says; all alike where none says anything. `roll` draws a number
/// below the one it is given.
pub(super) fn choose(weights: &[Option<i64>], roll: impl FnOnce(i64) -> i64) -> usize {
    let known = weights.iter().any(Option::is_some);
    let total: i64 = weights.iter().flatten().sum();
    // Where the weights tell nothing, each that could have one counts once.
    let share = |weight: &Option<i64>| match weight {
        Some(weight) if total > 0 => *weight,
        Some(_) => 1,
        None => i64::from(!known),
    };
    let all: i64 = weights.iter().map(share).sum();
    let mut left = roll(all.max(1));
    for (at, weight) in weights.iter().enumerate() {
        left -= share(weight);
        if left < 0 {
            return at;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        let check = |weights: &[Option<i64>], roll: i64, all: i64, expected: usize| {
            let chosen = choose(weights, |below| {
                assert_eq!(below, all, "{weights:?}");
                roll
            });
            assert_eq!(chosen, expected, "{weights:?} {roll}");
        };
        check(&[Some(1)], 0, 1, 0);
        check(&[Some(1), Some(3)], 0, 4, 0);
        check(&[Some(1), Some(3)], 1, 4, 1);
        check(&[Some(0), Some(3)], 0, 3, 1);
        check(&[Some(0), Some(0)], 1, 2, 1);
        check(&[None, Some(0), Some(0)], 0, 2, 1);
        check(&[None, Some(2)], 1, 2, 1);
        check(&[None, None], 1, 2, 1);
    }

    #[test]
    fn a_loop_without_a_delay_is_slowed_down() {
        let stage = Arc::new(super::super::tests::stage("a", serde_json::json!({})));
        let mut turn = Turn::default();
        let now = Timestamp::UNIX_EPOCH;
        for played in 0..30 {
            turn.draw(std::slice::from_ref(&stage), stage.clone(), now);
            match turn.course(now) {
                Course::Play(_) => turn.played(played, now),
                Course::Wait(wait) => {
                    assert_eq!((played, wait), (10, Some(Duration::from_secs(1))));
                    return;
                }
                Course::Free => panic!("it was drawn"),
            }
        }
        panic!("never slowed down");
    }
}
