//! How long a job still has.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition};

use crate::framework::Error;

/// How long a job still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It has not ended, is kept, or goes already.
    Forever,
    Some(Duration),
    Nothing,
}

/// True for a job that goes by itself.
pub(super) fn concerns(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_none()
        && job.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some())
        && ended(job).is_some()
}

fn ended(job: &Job) -> Option<&JobCondition> {
    let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

/// How long `job` still has.
///
/// # Errors
/// It does not say when it ended.
pub(super) fn left(job: &Job, now: Timestamp) -> Result<Left, Error> {
    let ttl = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(ttl), Some(ended), true) = (ttl, ended(job), concerns(job)) else { return Ok(Left::Forever) };
    let Some(at) = &ended.last_transition_time else {
        let meta = &job.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        return Err(Error::Invalid(format!(
            "unable to find the time when the Job {namespace}/{name} finished"
        )));
    };
    // At the end of all time nothing is left to wait for.
    let over = at.0.checked_add(SignedDuration::from_secs(ttl.into())).unwrap_or(Timestamp::MAX);
    let time = Duration::try_from(over.duration_since(now)).unwrap_or_default();
    Ok(if time.is_zero() { Left::Nothing } else { Left::Some(time) })
}
