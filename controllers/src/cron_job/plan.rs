//! What becomes of a cron job's jobs and status.

use std::{collections::BTreeSet, sync::Arc};

use coracle_api::{
    field::go_quote,
    schedule::{Schedule, time_zone},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::due::{self, Missed};
use crate::framework::{Severity, controller_reference};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What is known of a cron job.
pub(super) struct Observed {
    pub(super) cron_job: CronJob,
    /// The jobs that it controls.
    pub(super) jobs: Vec<Arc<Job>>,
    /// The uids of active jobs that are no more.
    pub(super) missing: BTreeSet<String>,
    /// The uids of jobs that have just been deleted.
    pub(super) removed: BTreeSet<String>,
}

/// An event to record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Occasion {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    pub(super) events: Vec<Occasion>,
    pub(super) step: Step,
}

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing until something changes, or that time comes.
    Wait(Option<Timestamp>),
    Start {
        /// When it is due.
        at: Timestamp,
        job: Box<Job>,
        /// Active jobs go first.
        replace: bool,
        /// When to look again.
        wake: Option<Timestamp>,
    },
}

impl Plan {
    fn say(&mut self, severity: Severity, reason: &'static str, message: String) {
        self.events.push(Occasion { severity, reason, message });
    }
}

/// The jobs that the cron job lists as active.
pub(super) fn active(cron_job: &CronJob) -> impl Iterator<Item = &ObjectReference> {
    cron_job.status.iter().flat_map(|status| status.active.iter().flatten())
}

/// True when the cron job lists `job` as active.
pub(super) fn lists(cron_job: &CronJob, job: &Job) -> bool {
    active(cron_job).any(|active| active.uid == job.metadata.uid)
}

/// How a job ended.
pub(super) fn outcome(job: &Job) -> Option<&'static str> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.status == "True")
        .find_map(|condition| ["Complete", "Failed"].into_iter().find(|kind| condition.type_ == *kind))
}

pub(super) fn is_finished(job: &Job) -> bool {
    outcome(job).is_some()
}

/// The schedule in the time zone that the cron job asks for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn schedule(spec: &CronJobSpec) -> Result<Schedule, String> {
    let zone = match &spec.time_zone {
        Some(name) if !spec.schedule.contains("TZ") => time_zone(name).unwrap_or(TimeZone::UTC),
        _ => TimeZone::UTC,
    };
    Schedule::parse_in(&spec.schedule, &zone)
}

/// The finished jobs beyond what the history keeps: those that began first.
pub(super) fn surplus(observed: &Observed) -> Vec<Arc<Job>> {
    let spec = &observed.cron_job.spec;
    let beyond = |kind: &str, limit: Option<i32>| {
        let mut ended: Vec<_> =
            observed.jobs.iter().filter(|job| outcome(job) == Some(kind)).cloned().collect();
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
        ended.sort_by_cached_key(|job| {
            let began = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            (began.is_none(), began.map(|time| time.0), job.metadata.name.clone())
        });
        ended.truncate(ended.len().saturating_sub(limit));
        ended
    };
    let mut jobs = beyond("Complete", spec.successful_jobs_history_limit);
    jobs.extend(beyond("Failed", spec.failed_jobs_history_limit));
    jobs.retain(|job| job.metadata.deletion_timestamp.is_none());
    jobs
}

/// What to do.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let status = observed.cron_job.status.clone().unwrap_or_default();
    let mut plan = Plan { status, events: Vec::new(), step: Step::Wait(None) };
    forget(&mut plan, |uid| observed.removed.contains(uid));
    for job in &observed.jobs {
        see_job(&mut plan, job);
    }
    for gone in plan.status.active.clone().into_iter().flatten() {
        if gone.uid.as_ref().is_some_and(|uid| observed.missing.contains(uid)) {
            let name = gone.name.unwrap_or_default();
            plan.say(Severity::Normal, "MissingJob", format!("Active job went missing: {name}"));
        }
    }
    forget(&mut plan, |uid| observed.missing.contains(uid));
    if observed.cron_job.metadata.deletion_timestamp.is_none() {
        let cron_job = CronJob { status: Some(plan.status.clone()), ..observed.cron_job.clone() };
        plan.step = step(&mut plan, cron_job, now);
    }
    plan
}

fn forget(plan: &mut Plan, gone: impl Fn(&str) -> bool) {
    if let Some(active) = &mut plan.status.active {
        active.retain(|job| !gone(job.uid.as_deref().unwrap_or_default()));
    }
}

fn see_job(plan: &mut Plan, job: &Job) {
    let (uid, name) = (&job.metadata.uid, job.metadata.name.as_deref().unwrap_or_default());
    let listed = plan.status.active.iter().flatten().any(|active| active.uid == *uid);
    let Some(outcome) = outcome(job) else {
        if !listed {
            let message = format!("Saw a job that the controller did not create or forgot: {name}");
            plan.say(Severity::Warning, "UnexpectedJob", message);
        }
        return;
    };
    if listed {
        forget(plan, |active| Some(active) == uid.as_deref());
        let message = format!("Saw completed job: {name}, condition: {outcome}");
        plan.say(Severity::Normal, "SawCompletedJob", message);
    }
    let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
    if outcome == "Complete" && completed > plan.status.last_successful_time {
        plan.status.last_successful_time = completed;
    }
}

/// `cron_job` has the status of the plan so far.
fn step(plan: &mut Plan, mut cron_job: CronJob, now: Timestamp) -> Step {
    let rest = Step::Wait(None);
    let spec = &cron_job.spec;
    let zone = match time_zone(spec.time_zone.as_deref().unwrap_or_default()) {
        Ok(zone) => zone,
        Err(error) => {
            let name = go_quote(spec.time_zone.as_deref().unwrap_or_default());
            plan.say(Severity::Warning, "UnknownTimeZone", format!("invalid timeZone: {name}: {error}"));
            return rest;
        }
    };
    if spec.suspend == Some(true) {
        return rest;
    }
    let text = &spec.schedule;
    if text.contains("TZ") {
        let message = format!(
            "CRON_TZ or TZ used in schedule {} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            go_quote(text),
        );
        plan.say(Severity::Warning, "UnsupportedSchedule", message);
    }
    let schedule = match schedule(spec) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = format!("unparseable schedule: {} : {error}", go_quote(text));
            plan.say(Severity::Warning, "UnparseableSchedule", message);
            return rest;
        }
    };
    let recent = match due::recent(&cron_job, &schedule, now, true) {
        Ok(recent) => recent,
        Err(error) => {
            plan.say(Severity::Warning, "InvalidSchedule", format!("invalid schedule: {text} : {error}"));
            return rest;
        }
    };
    let wait = Step::Wait(due::wake(&cron_job, &schedule, now));
    let Some(at) = recent.latest else { return wait };
    if recent.missed == Missed::Many {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.say(Severity::Warning, "TooManyMissedTimes", message.to_owned());
    }
    if !may_start(plan, &cron_job, at, now) {
        return wait;
    }
    let job = Box::new(job(&cron_job, at, &zone));
    let replace = spec.concurrency_policy.as_deref() == Some("Replace");
    cron_job.status.get_or_insert_default().last_schedule_time = Some(Time(at));
    Step::Start { at, job, replace, wake: due::wake(&cron_job, &schedule, now) }
}

fn may_start(plan: &mut Plan, cron_job: &CronJob, at: Timestamp, now: Timestamp) -> bool {
    let deadline = cron_job.spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if deadline.and_then(|deadline| at.checked_add(deadline).ok()).is_some_and(|latest| latest < now) {
        let at = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
        plan.say(Severity::Warning, "MissSchedule", format!("Missed scheduled time to start a job: {at}"));
        return false;
    }
    let name = job_name(cron_job, at);
    let mut listed = active(cron_job);
    let is_it = |job: &ObjectReference| {
        job.name.as_ref() == Some(&name) && job.namespace == cron_job.metadata.namespace
    };
    if listed.any(is_it) || plan.status.last_schedule_time == Some(Time(at)) {
        return false;
    }
    if cron_job.spec.concurrency_policy.as_deref() == Some("Forbid") && active(cron_job).next().is_some() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        plan.say(Severity::Normal, "JobAlreadyActive", message.to_owned());
        return false;
    }
    true
}

/// The same for each due time, so that none is started twice.
fn job_name(cron_job: &CronJob, at: Timestamp) -> String {
    let minutes = at.as_second() / 60;
    format!("{}-{minutes}", cron_job.metadata.name.as_deref().unwrap_or_default())
}

fn job(cron_job: &CronJob, at: Timestamp, zone: &TimeZone) -> Job {
    let template = &cron_job.spec.job_template;
    let meta = template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let shown = at.to_zoned(zone.clone());
    let offset = if shown.offset().is_zero() { "Z" } else { "%:z" };
    annotations
        .insert(SCHEDULED_AT.into(), shown.strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}")).to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron_job, at)),
            namespace: cron_job.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}
