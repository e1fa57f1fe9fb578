//! Whether a Job is over, and why.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, SuccessPolicyRule},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    failure::{self, Verdict},
    indexes::Indexes,
    plan::{Observed, Tally, is_suspended},
};
use crate::pod;

/// A condition that holds since `now`.
pub(super) fn condition(kind: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: "True".into(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// The condition of this type, if it holds.
pub(super) fn held<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|it| it.type_ == kind && it.status == "True")
}

/// True when the job is over.
pub(super) fn is_finished(job: &Job) -> bool {
    held(job, "Complete").or(held(job, "Failed")).is_some()
}

/// The condition that ends the job. `again` is when a deadline will.
pub(super) fn finished(
    observed: &Observed,
    spec: &JobSpec,
    tally: &Tally,
    now: Timestamp,
    again: &mut Option<Duration>,
) -> Option<JobCondition> {
    let job = &observed.job;
    if let Some(met) = held(job, "SuccessCriteriaMet") {
        return Some(met.clone());
    }
    if let Some(target) = held(job, "FailureTarget") {
        let text = |of: &Option<String>| of.clone().unwrap_or_default();
        return Some(condition("Failed", &text(&target.reason), &text(&target.message), now));
    }
    let fails = |reason: &str, message: &str| Some(condition("FailureTarget", reason, message, now));
    let verdicts = observed.pods.iter().filter(|pod| failure::is_failed(pod, spec));
    let fatal = verdicts.map(|pod| failure::judge(job, pod)).find_map(|verdict| match verdict {
        Verdict::FailsJob(message) if spec.pod_failure_policy.is_some() => Some(message),
        _ => None,
    });
    if let Some(message) = fatal {
        return fails("PodFailurePolicy", &message);
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarts_exceed(spec, &observed.pods, limit) {
        return fails("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if let Some(left) = deadline(job, spec, now) {
        if left.is_zero() {
            return fails("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        *again = Some(left);
    }
    let progress = tally.indexes.as_ref()?;
    if let Some(failed) = &progress.failed {
        if spec.max_failed_indexes.is_some_and(|most| failed.total() > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return fails("MaxFailedIndexesExceeded", message);
        }
        let ended = failed.total().saturating_add(progress.succeeded.total());
        if failed.total() > 0 && ended >= spec.completions.unwrap_or(0) {
            return fails("FailedIndexes", "Job has failed indexes");
        }
    }
    let rules = spec.success_policy.iter().flat_map(|policy| policy.rules.iter().enumerate());
    let mut met = rules.filter(|(_, rule)| meets(rule, spec, &progress.succeeded));
    let (index, _) = met.next()?;
    Some(condition("SuccessCriteriaMet", "SuccessPolicy", &format!("Matched rules at index {index}"), now))
}

/// What ends a job of which enough has succeeded.
pub(super) fn completed(now: Timestamp) -> JobCondition {
    let message = "Reached expected number of succeeded pods";
    condition("SuccessCriteriaMet", "CompletionsReached", message, now)
}

fn meets(rule: &SuccessPolicyRule, spec: &JobSpec, succeeded: &Indexes) -> bool {
    let enough = |count: i32| rule.succeeded_count.is_some_and(|wanted| count >= wanted);
    let Some(list) = &rule.succeeded_indexes else {
        return succeeded.total() > 0 && enough(succeeded.total());
    };
    let wanted = Indexes::parse(list, spec.completions.unwrap_or(0));
    let common = wanted.common(succeeded);
    wanted.total() > 0 && common > 0 && (common == wanted.total() || enough(common))
}

// Containers that restart count like pods that fail.
fn restarts_exceed(spec: &JobSpec, pods: &[std::sync::Arc<Pod>], limit: i32) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let running = pods.iter().filter(|pod| matches!(pod::phase(pod), "Running" | "Pending"));
    let statuses = running.filter_map(|pod| pod.status.as_ref());
    let restarts = statuses
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten())
        .fold(0, |sum: i32, status| sum.saturating_add(status.restart_count));
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

// How long the job may still be active.
fn deadline(job: &Job, spec: &JobSpec, now: Timestamp) -> Option<Duration> {
    let seconds = spec.active_deadline_seconds.filter(|_| !is_suspended(spec))?;
    let since = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0);
    let end = since.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    Some(end.duration_since(now).try_into().unwrap_or_default())
}
