//! Which starts are due, and which have been missed. A bounded amount of work
//! however long ago the last start was.

use coracle_api::schedule::Schedule;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;

/// How long after a due time the cron job is looked at, so that clocks that
/// differ a little do not make it too early.
const LATER: SignedDuration = SignedDuration::from_millis(100);
/// Starts that may be missed without a warning.
const FEW: i64 = 100;
/// Due times looked at one after the other before the last one is searched.
const WALKED: usize = 64;

/// How many starts were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    None,
    Few,
    Many,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    /// From when on times count.
    pub(super) since: Timestamp,
    /// The last due time that is not after now.
    pub(super) latest: Option<Timestamp>,
    pub(super) missed: Missed,
}

/// The last time at which a job should have been started.
///
/// # Errors
/// The schedule never comes, or not again.
pub(super) fn recent(
    cron_job: &CronJob,
    schedule: &Schedule,
    now: Timestamp,
    deadline: bool,
) -> Result<Recent, &'static str> {
    const NEVER: &str = "time difference between two schedules is less than 1 second";
    let created = cron_job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let mut since = last.map_or(created, |time| time.0);
    if let Some(seconds) = cron_job.spec.starting_deadline_seconds.filter(|_| deadline) {
        // One that reaches back beyond all time is none.
        let earliest = now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        since = since.max(earliest);
    }
    let none = Recent { since, latest: None, missed: Missed::None };
    let first = schedule.next(since).ok_or(NEVER)?;
    if now < first {
        return Ok(none);
    }
    let second = schedule.next(first).ok_or(NEVER)?;
    if now < second {
        return Ok(Recent { latest: Some(first), ..none });
    }
    let between = second.as_second() - first.as_second();
    if between < 1 {
        return Err(NEVER);
    }
    // A guess: not all times are as far apart as the first two.
    let count = now.duration_since(first).as_secs() / between + 1;
    let ahead = SignedDuration::from_secs((count - 2).saturating_mul(between));
    let latest = first.checked_add(ahead).ok().and_then(|from| last_between(schedule, from, now));
    let missed = if count > FEW { Missed::Many } else { Missed::Few };
    Ok(Recent { since, latest, missed })
}

/// The last due time after `from` and not after `until`.
fn last_between(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
    let next = |at: Timestamp| schedule.next(at).filter(|due| *due <= until);
    let mut latest = next(from)?;
    for _ in 0..WALKED {
        match next(latest) {
            Some(due) => latest = due,
            None => return Some(latest),
        }
    }
    // Something is due after `known` and nothing after `beyond`.
    let (mut known, mut beyond) = (latest.as_second(), until.as_second().saturating_add(1));
    while beyond - known > 1 {
        let middle = known + (beyond - known) / 2;
        match Timestamp::from_second(middle).ok().and_then(next) {
            Some(due) => (latest, known) = (due, due.as_second().max(middle)),
            None => beyond = middle,
        }
    }
    Some(latest)
}

/// When to look at the cron job again; `None` when nothing more is due.
pub(super) fn wake(cron_job: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let from = match recent(cron_job, schedule, now, false) {
        Ok(Recent { latest: Some(latest), .. }) => latest,
        Ok(Recent { since, missed: Missed::None, .. }) => since,
        _ => now,
    };
    schedule.next(from)?.checked_add(LATER).ok()
}
