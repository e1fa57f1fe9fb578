//! Wakes a cron job at a time of the wall's clock, which may jump: long waits
//! are cut into pieces, and the time is asked again after each.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;

use crate::framework::{Clock, Error, Key, Next, Queue, Reconcile, Store};

/// The longest piece of a wait.
const PIECE: Duration = Duration::from_secs(60);

/// When to look at which cron job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Alarm {
    pub(super) key: Key,
    pub(super) due: Timestamp,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.key, self.due)
    }
}

pub(super) struct Alarms {
    pub(super) clock: Clock,
    pub(super) queue: Queue<Key>,
    pub(super) cron_jobs: Arc<Store<CronJob>>,
}

impl Reconcile<Alarm> for Alarms {
    async fn reconcile(&self, alarm: &Alarm) -> Result<Next, Error> {
        if self.cron_jobs.get(&alarm.key).is_none() {
            return Ok(Next::Change);
        }
        match remaining(alarm.due, self.clock.now()) {
            Some(piece) => Ok(Next::After(piece)),
            None => {
                self.queue.add(alarm.key.clone());
                Ok(Next::Change)
            }
        }
    }
}

/// How long to wait before the time is asked again; `None` when it has come.
pub(super) fn remaining(due: Timestamp, now: Timestamp) -> Option<Duration> {
    let wait = Duration::try_from(due.duration_since(now)).ok()?;
    (!wait.is_zero()).then(|| wait.min(PIECE))
}
