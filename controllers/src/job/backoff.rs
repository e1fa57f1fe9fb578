//! How long a Job waits after its pods have failed.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// The failures since the last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: i32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// The same with what has ended since.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|pod| ended_at(pod)).max();
        let later =
            failed.iter().map(|pod| ended_at(pod)).filter(|at| last_success.is_none_or(|it| *at > it));
        let later: Vec<Timestamp> = later.collect();
        let before = if last_success.is_some() { Self::default() } else { self };
        let failures = before.failures.saturating_add(i32::try_from(later.len()).unwrap_or(i32::MAX));
        Self { failures, last: later.into_iter().max().or(before.last) }
    }

    /// How long to wait until pods are created again.
    pub(super) fn left(self, now: Timestamp) -> Option<Duration> {
        left(self.failures, self.last?, now)
    }
}

/// How long to wait until the index of a pod that has failed `failures` times
/// before gets another.
pub(super) fn left_for_index(pod: &Pod, failures: i32, now: Timestamp) -> Option<Duration> {
    left(failures.saturating_add(1), ended_at(pod), now)
}

fn left(failures: i32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    if failures <= 0 {
        return None;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(16);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let since = now.duration_since(last);
    // A failure in the future is a clock that jumped: it counts from now on.
    wait.checked_sub(since.try_into().unwrap_or_default()).filter(|left| !left.is_zero())
}

/// When the pod ended: its last container, else when it stopped being ready,
/// else when it was deleted.
fn ended_at(pod: &Pod) -> Timestamp {
    let statuses = || pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let finished: Option<Vec<Timestamp>> = statuses()
        .map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0))
        .collect();
    let unready = || {
        let ready = pod::condition(pod, "Ready").filter(|it| it.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        at.checked_sub(jiff::SignedDuration::from_secs(grace)).ok()
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let finished = finished.and_then(|all| all.into_iter().max());
    finished.or_else(unready).or_else(deleted).or_else(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(at: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(at).expect("a time").to_string();
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": at}}});
        Arc::new(serde_json::from_value(json!({"status": {"containerStatuses": [status]}})).expect("a pod"))
    }

    #[test]
    fn waits_double_and_a_success_ends_them() {
        let now = Timestamp::from_second(1000).expect("a time");
        let check = |succeeded: &[i64], failed: &[i64], expected: Option<u64>| {
            let pods = |times: &[i64]| times.iter().map(|at| ended(*at)).collect::<Vec<_>>();
            let left = Backoff::default().after(&pods(succeeded), &pods(failed)).left(now);
            assert_eq!(left, expected.map(Duration::from_secs), "{succeeded:?} {failed:?}");
        };
        check(&[], &[], None);
        check(&[], &[1000], Some(10));
        check(&[], &[995], Some(5));
        check(&[], &[990], None);
        check(&[], &[990, 995, 1000], Some(40));
        check(&[], &[1000; 30], Some(600));
        check(&[997], &[995, 998], Some(8));
        check(&[1000], &[995, 998], None);
    }
}
