use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use serde_json::{Value, json};

use super::{
    backoff::Backoff,
    plan::{Observed, Plan, plan},
    pods, track,
};

fn now() -> Timestamp {
    "2024-01-01T00:01:00Z".parse().expect("a time")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn extend(mut value: Value, more: &Value) -> Value {
    if let (Some(all), Some(more)) = (value.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    value
}

fn a_job(spec: &Value, status: &Value) -> Arc<Job> {
    let spec = extend(
        json!({
            "parallelism": 2, "completions": 3, "backoffLimit": 6,
            "selector": {"matchLabels": {"job": "j"}},
            "template": {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": []}},
        }),
        spec,
    );
    let status = extend(json!({"startTime": "2024-01-01T00:00:00Z"}), status);
    Arc::new(read(
        json!({"metadata": {"name": "j", "namespace": "a", "uid": "job"}, "spec": spec, "status": status}),
    ))
}

// `UID STATE [INDEX [FAILURES]]`: `running`, `succeeded`, `failed`, `ending`, or `counted`, which has succeeded and lost its finalizer.
fn a_pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split(' ').collect();
    let (uid, state) = (words[0], words[1]);
    let phase = match state {
        "succeeded" | "counted" => "Succeeded",
        "failed" => "Failed",
        _ => "Running",
    };
    let mut meta =
        json!({"name": uid, "namespace": "a", "uid": uid, "labels": {"job": "j"}, "annotations": {}});
    if state != "counted" {
        meta["finalizers"] = json!([pods::TRACKING]);
    }
    if state == "ending" {
        meta["deletionTimestamp"] = "2024-01-01T00:00:30Z".into();
    }
    if let Some(index) = words.get(2) {
        meta["annotations"]["batch.kubernetes.io/job-completion-index"] = (*index).into();
    }
    if let Some(failures) = words.get(3) {
        meta["annotations"]["batch.kubernetes.io/job-index-failure-count"] = (*failures).into();
    }
    let ended = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "finishedAt": "2024-01-01T00:00:00Z"}}}]);
    let statuses = if phase == "Running" { json!([]) } else { ended };
    Arc::new(read(json!({"metadata": meta, "status": {"phase": phase, "containerStatuses": statuses}})))
}

fn observed(spec: &Value, status: &Value, pods: &[&str]) -> Observed {
    Observed {
        job: a_job(spec, status),
        pods: pods.iter().map(|text| a_pod(text)).collect(),
        settled: true,
        counted: HashSet::new(),
        backoff: Backoff::default(),
    }
}

fn planned(observed: &Observed) -> Plan {
    plan(observed, observed.job.spec.as_ref().expect("a spec"), now())
}

// What is created (by index, or `+`), what is deleted, and why it ends.
fn told(plan: &Plan) -> String {
    let mut words: Vec<String> = plan
        .create
        .iter()
        .map(|pod| pods::index(pod).map_or("+".to_owned(), |index| format!("+{index}")))
        .collect();
    let mut deleted: Vec<_> = plan.delete.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    deleted.sort();
    words.extend(deleted.iter().map(|name| format!("-{name}")));
    words.extend(plan.finished.iter().map(|it| it.reason.clone().unwrap_or_default()));
    words.join(" ")
}

fn check(spec: Value, status: Value, pods: &[&str], expected: &str) {
    let plan = planned(&observed(&spec, &status, pods));
    assert_eq!(told(&plan), expected, "{spec} {status} {pods:?}");
}

#[test]
fn as_many_pods_run_as_are_to() {
    let none = || json!({});
    check(none(), none(), &[], "+ +");
    check(none(), none(), &["a running"], "+");
    check(none(), none(), &["a running", "b running"], "");
    check(none(), none(), &["a succeeded", "b succeeded"], "+");
    check(none(), json!({"succeeded": 2}), &["a running", "b running"], "-a");
    check(none(), json!({"succeeded": 3}), &[], "");
    check(json!({"completions": null}), none(), &["a running"], "+");
    check(json!({"completions": null}), none(), &["a succeeded", "b running"], "");
    check(json!({"suspend": true}), none(), &["a running", "b running"], "-a -b");
    // What failed a minute ago is replaced, what is being deleted too, unless the job says otherwise.
    check(none(), none(), &["a failed", "b running"], "+");
    check(none(), none(), &["a ending", "b running"], "+");
    check(json!({"podReplacementPolicy": "Failed"}), none(), &["a ending", "b running"], "");
}

#[test]
fn a_job_ends_for_a_reason() {
    check(
        json!({"backoffLimit": 1}),
        json!({"failed": 1}),
        &["a failed", "b running"],
        "-b BackoffLimitExceeded",
    );
    check(json!({"activeDeadlineSeconds": 30}), json!({}), &["a running"], "-a DeadlineExceeded");
    check(json!({"activeDeadlineSeconds": 90}), json!({}), &["a running", "b running"], "");
    let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]});
    check(json!({"podFailurePolicy": policy}), json!({}), &["a failed", "b running"], "-b PodFailurePolicy");
    let ignores = json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]});
    check(
        json!({"podFailurePolicy": ignores, "backoffLimit": 0}),
        json!({}),
        &["a failed", "b running"],
        "+",
    );
}

#[test]
fn indexed_jobs_give_each_index_a_pod() {
    let indexed = |more: Value| extend(json!({"completionMode": "Indexed"}), &more);
    check(indexed(json!({})), json!({}), &[], "+0 +1");
    check(indexed(json!({})), json!({"completedIndexes": "0"}), &["b running 1"], "+2");
    check(indexed(json!({})), json!({}), &["a succeeded 0", "b running 2"], "+1");
    check(indexed(json!({})), json!({}), &["a running 0", "b running 0", "c running 1"], "-a");
    let per_index = |more: Value| extend(indexed(json!({"backoffLimitPerIndex": 1})), &more);
    check(per_index(json!({})), json!({}), &["a failed 0 0"], "+0 +1");
    check(per_index(json!({})), json!({}), &["a failed 0 1"], "+1 +2");
    check(
        per_index(json!({"maxFailedIndexes": 0})),
        json!({}),
        &["a failed 0 1", "b running 1"],
        "-b MaxFailedIndexesExceeded",
    );
    check(per_index(json!({})), json!({"completedIndexes": "1,2"}), &["a failed 0 1"], "FailedIndexes");
    let first = json!({"rules": [{"succeededIndexes": "0"}]});
    check(
        indexed(json!({"successPolicy": first})),
        json!({}),
        &["a succeeded 0", "b running 1"],
        "-b SuccessPolicy",
    );
    let two = json!({"rules": [{"succeededCount": 2}]});
    check(indexed(json!({"successPolicy": two})), json!({}), &["a succeeded 0", "b running 1"], "+2");
}

#[test]
fn each_pod_is_counted_once() {
    let list = |status: Value, pods: &[&str]| {
        let observed = observed(&json!({}), &status, pods);
        let spec = observed.job.spec.clone().expect("a spec");
        let status = observed.job.status.clone().expect("a status");
        let tracked = track::list(&observed, &spec, &planned(&observed), status, now());
        (serde_json::to_value(&tracked.status).expect("JSON"), tracked.ended.len())
    };
    // New ones are listed.
    let (status, ended) = list(json!({}), &["a succeeded", "b failed", "c running"]);
    assert_eq!(status["uncountedTerminatedPods"], json!({"succeeded": ["a"], "failed": ["b"]}));
    assert_eq!((ended, &status["succeeded"]), (2, &Value::Null));
    // Listed ones that still have the finalizer stay so, others become a number.
    let listed = json!({"succeeded": 1, "uncountedTerminatedPods": {"succeeded": ["a", "b"]}});
    let (status, ended) = list(listed, &["a succeeded", "b counted"]);
    assert_eq!(status["uncountedTerminatedPods"], json!({"succeeded": ["a"]}));
    assert_eq!((ended, &status["succeeded"]), (1, &json!(2)));
}

#[test]
fn the_end_waits_for_all_pods() {
    let check = |status: Value, expected: bool| {
        let mut status = read(status.clone());
        let finished = super::finish::condition("Complete", "r", "m", now());
        assert_eq!(track::end(&mut status, &finished, now()), expected);
        assert_eq!(status.completion_time.is_some(), expected);
    };
    check(json!({}), true);
    check(json!({"uncountedTerminatedPods": {}}), true);
    check(json!({"uncountedTerminatedPods": {"failed": ["a"]}}), false);
    check(json!({"terminating": 1}), false);
}
