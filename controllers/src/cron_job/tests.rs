use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coracle_api::schedule::Schedule;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};

use super::{
    alarm, due,
    plan::{self, Observed, Plan, Step},
};
use crate::merge::merge;

const CREATED: &str = "2024-01-01T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron_job(change: &Value) -> CronJob {
    let mut cron_job = json!({
        "metadata": { "name": "tick", "namespace": "a", "uid": "tick", "creationTimestamp": CREATED },
        "spec": {
            "schedule": "0 * * * *",
            "concurrencyPolicy": "Allow",
            "jobTemplate": {
                "metadata": { "labels": { "l": "1" }, "annotations": { "n": "2" } },
                "spec": { "template": {} },
            },
        },
    });
    merge(&mut cron_job, change);
    serde_json::from_value(cron_job).unwrap()
}

/// A job such as `one Complete 2`: how it ended, and its minute of start.
fn job(text: &str) -> Arc<Job> {
    let mut words = text.split(' ');
    let (name, outcome) = (words.next().unwrap(), words.next());
    let minute = words.next().map(|minute| format!("2024-01-01T00:0{minute}:00Z"));
    let conditions: Vec<_> = outcome
        .iter()
        .filter(|word| **word != "-")
        .map(|word| json!({ "type": word, "status": "True" }))
        .collect();
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "a", "uid": name },
            "spec": { "template": {} },
            "status": {
                "startTime": minute, "completionTime": minute.as_ref().filter(|_| outcome == Some("Complete")),
                "conditions": conditions,
            },
        }))
        .unwrap(),
    )
}

fn listed(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "name": name, "namespace": "a", "uid": name })).collect()
}

fn observed(change: &Value, jobs: &[&str], missing: &[&str]) -> Observed {
    Observed {
        cron_job: cron_job(change),
        jobs: jobs.iter().map(|text| job(text)).collect(),
        missing: missing.iter().map(|&name| name.to_owned()).collect(),
        removed: BTreeSet::new(),
    }
}

fn events(plan: &Plan) -> Vec<String> {
    plan.events.iter().map(|it| format!("{:?} {}: {}", it.severity, it.reason, it.message)).collect()
}

fn step(plan: &Plan) -> String {
    let shown = |wake: &Option<Timestamp>| wake.map_or("never".to_owned(), |wake| wake.to_string());
    match &plan.step {
        Step::Wait(wake) => format!("wait {}", shown(wake)),
        Step::Start { at, replace, wake, .. } => format!("start {at} {replace} {}", shown(wake)),
    }
}

#[track_caller]
fn check(change: Value, now: &str, expected: &str, said: &[&str]) {
    let plan = plan::plan(&observed(&change, &[], &[]), time(now));
    assert_eq!(
        (step(&plan), events(&plan)),
        (expected.to_owned(), said.iter().map(|&it| it.into()).collect()),
        "{change}"
    );
}

#[test]
fn what_is_due_is_started() {
    let spec = |change: Value| json!({ "spec": change });
    check(json!({}), "2024-01-01T00:30:00Z", "wait 2024-01-01T01:00:00.1Z", &[]);
    check(
        json!({}),
        "2024-01-01T01:00:00.1Z",
        "start 2024-01-01T01:00:00Z false 2024-01-01T02:00:00.1Z",
        &[],
    );
    // Of several missed starts, the last.
    check(json!({}), "2024-01-01T05:10:00Z", "start 2024-01-01T05:00:00Z false 2024-01-01T06:00:00.1Z", &[]);
    let last = json!({ "status": { "lastScheduleTime": "2024-01-01T05:00:00Z" } });
    check(last, "2024-01-01T05:10:00Z", "wait 2024-01-01T06:00:00.1Z", &[]);
    let many = "Warning TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
    check(
        json!({}),
        "2024-01-06T00:10:00Z",
        "start 2024-01-06T00:00:00Z false 2024-01-06T01:00:00.1Z",
        &[many],
    );
    // With a deadline, few of them count.
    let deadline = spec(json!({ "startingDeadlineSeconds": 900 }));
    check(
        deadline.clone(),
        "2024-01-06T00:10:00Z",
        "start 2024-01-06T00:00:00Z false 2024-01-06T01:00:00.1Z",
        &[],
    );
    check(deadline, "2024-01-06T00:20:00Z", "wait 2024-01-06T01:00:00.1Z", &[]);
    check(
        spec(json!({ "startingDeadlineSeconds": i64::MAX })),
        "2024-01-01T01:10:00Z",
        "start 2024-01-01T01:00:00Z false 2024-01-01T02:00:00.1Z",
        &[],
    );
    check(spec(json!({ "suspend": true })), "2024-01-01T01:10:00Z", "wait never", &[]);
    check(json!({ "metadata": { "deletionTimestamp": CREATED } }), "2024-01-01T01:10:00Z", "wait never", &[]);
    let tokyo = spec(json!({ "schedule": "30 9 * * *", "timeZone": "Asia/Tokyo" }));
    check(tokyo, "2024-01-01T00:31:00Z", "start 2024-01-01T00:30:00Z false 2024-01-02T00:30:00.1Z", &[]);
}

#[test]
fn what_is_wrong_with_it_is_said() {
    let now = "2024-01-01T01:10:00Z";
    let spec = |change: Value| json!({ "spec": change });
    check(
        spec(json!({ "timeZone": "Mars/Base" })),
        now,
        "wait never",
        &["Warning UnknownTimeZone: invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base"],
    );
    check(
        spec(json!({ "schedule": "* * *" })),
        now,
        "wait never",
        &[
            "Warning UnparseableSchedule: unparseable schedule: \"* * *\" : expected exactly 5 fields, found 3: [* * *]",
        ],
    );
    check(
        spec(json!({ "schedule": "59 23 31 2 *" })),
        now,
        "wait never",
        &[
            "Warning InvalidSchedule: invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second",
        ],
    );
    check(
        spec(json!({ "schedule": "TZ=UTC 0 * * * *" })),
        "2024-01-01T00:10:00Z",
        "wait 2024-01-01T01:00:00.1Z",
        &[
            "Warning UnsupportedSchedule: CRON_TZ or TZ used in schedule \"TZ=UTC 0 * * * *\" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        ],
    );
}

#[test]
fn jobs_that_run_already() {
    let running = |policy: &str, name: &str| json!({ "spec": { "concurrencyPolicy": policy }, "status": { "active": listed(&[name]) } });
    let check = |policy: &str, name: &str, expected: &str, said: &[&str]| {
        let plan = plan::plan(&observed(&running(policy, name), &[name], &[]), time("2024-01-01T01:00:01Z"));
        assert_eq!(
            (step(&plan).as_str(), events(&plan)),
            (expected, said.iter().map(|&it| it.into()).collect())
        );
    };
    let wait = "wait 2024-01-01T02:00:00.1Z";
    check("Allow", "old", "start 2024-01-01T01:00:00Z false 2024-01-01T02:00:00.1Z", &[]);
    check("Replace", "old", "start 2024-01-01T01:00:00Z true 2024-01-01T02:00:00.1Z", &[]);
    let active = "Normal JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid";
    check("Forbid", "old", wait, &[active]);
    // This very start has been made.
    check("Allow", "tick-28401180", wait, &[]);
}

#[test]
fn the_status_follows_the_jobs() {
    let check = |jobs: &[&str], missing: &[&str], active: &[&str], success: Value, said: &[&str]| {
        let change = json!({ "spec": { "suspend": true }, "status": { "active": listed(&["one", "two"]) } });
        let plan = plan::plan(&observed(&change, jobs, missing), time("2024-01-01T00:10:00Z"));
        let names: Vec<_> = plan.status.active.iter().flatten().filter_map(|it| it.name.as_deref()).collect();
        assert_eq!(
            (names, events(&plan)),
            (active.to_vec(), said.iter().map(|&it| it.into()).collect()),
            "{jobs:?}"
        );
        assert_eq!(json!(plan.status.last_successful_time), success, "{jobs:?}");
    };
    check(&["one", "two"], &[], &["one", "two"], Value::Null, &[]);
    let complete = "Normal SawCompletedJob: Saw completed job: one, condition: Complete";
    check(&["one Complete 3", "two"], &[], &["two"], json!("2024-01-01T00:03:00Z"), &[complete]);
    check(
        &["one Complete 3", "two", "x Complete 5"],
        &[],
        &["two"],
        json!("2024-01-01T00:05:00Z"),
        &[complete],
    );
    let failed = "Normal SawCompletedJob: Saw completed job: one, condition: Failed";
    check(&["one Failed 3", "two"], &[], &["two"], Value::Null, &[failed]);
    check(&["two"], &["one"], &["two"], Value::Null, &["Normal MissingJob: Active job went missing: one"]);
    let unexpected = "Warning UnexpectedJob: Saw a job that the controller did not create or forgot: x";
    check(&["one", "two", "x"], &[], &["one", "two"], Value::Null, &[unexpected]);
}

#[test]
fn history_keeps_the_youngest() {
    let jobs = ["c1 Complete 1", "c3 Complete 3", "c2 Complete 2", "f1 Failed 1", "f2 Failed", "r - 0"];
    let check = |limits: Value, expected: &[&str]| {
        let surplus = plan::surplus(&observed(&json!({ "spec": limits }), &jobs, &[]));
        let names: Vec<_> = surplus.iter().filter_map(|job| job.metadata.name.as_deref()).collect();
        assert_eq!(names, expected, "{limits}");
    };
    check(json!({}), &[]);
    check(json!({ "successfulJobsHistoryLimit": 2 }), &["c1"]);
    check(json!({ "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 1 }), &["c1", "c2", "c3", "f1"]);
    check(json!({ "failedJobsHistoryLimit": 5 }), &[]);
}

#[test]
fn the_job_is_that_of_the_template() {
    let change = json!({ "spec": { "schedule": "30 9 * * *", "timeZone": "Asia/Kolkata" } });
    let plan = plan::plan(&observed(&change, &[], &[]), time("2024-01-01T04:00:01Z"));
    let Step::Start { job, .. } = plan.step else { panic!("{:?}", plan.step) };
    let meta = json!({
        "name": "tick-28401360", "namespace": "a", "labels": { "l": "1" },
        "annotations": { "n": "2", "batch.kubernetes.io/cronjob-scheduled-timestamp": "2024-01-01T09:30:00+05:30" },
        "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "tick",
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    assert_eq!(json!(job.metadata), meta);
}

#[test]
fn long_ago_is_little_work() {
    let check = |last: &str, schedule: &str, now: &str, latest: Option<&str>| {
        let cron_job = cron_job(&json!({ "status": { "lastScheduleTime": last } }));
        let recent = due::recent(&cron_job, &Schedule::parse(schedule).unwrap(), time(now), false).unwrap();
        assert_eq!(recent.latest, latest.map(time), "{schedule} at {now}");
    };
    check(CREATED, "@every 1s", "2025-01-01T00:00:00Z", Some("2025-01-01T00:00:00Z"));
    check(CREATED, "@every 7h", "2024-03-01T00:00:00Z", Some("2024-02-29T19:00:00Z"));
    check(CREATED, "* * * * *", "2044-01-01T00:00:30Z", Some("2044-01-01T00:00:00Z"));
    // Far apart at first, then each minute of half a year.
    let now = "2030-09-01T00:00:30Z";
    check("2024-06-30T23:58:00Z", "* * * 1-6 *", now, Some("2030-06-30T23:59:00Z"));
    // Close together at first: the guess is near now, where upstream finds nothing.
    check(CREATED, "* * * 1-6 *", now, None);
    check(CREATED, "30 6-16/4 * * 1-5", "2024-02-04T00:00:00Z", None);
}

#[test]
fn alarms_ask_for_the_time_again() {
    let check = |now: &str, expected: Option<u64>| {
        let left = alarm::remaining(time("2024-01-01T12:00:00Z"), time(now));
        assert_eq!(left, expected.map(Duration::from_secs), "{now}");
    };
    check("2024-01-01T11:59:00Z", Some(60));
    check("2023-01-01T00:00:00Z", Some(60));
    check("2024-01-01T12:00:00Z", None);
    check("2034-01-01T12:00:00Z", None);
}
