use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::plan::{Left, left};

fn shown(ttl: Value, condition: (&str, &str), ended: Value, deleted: Value, now: &str) -> String {
    let job: Job = serde_json::from_value(json!({
        "metadata": { "name": "one", "namespace": "a", "deletionTimestamp": deleted },
        "spec": { "ttlSecondsAfterFinished": ttl, "template": {} },
        "status": { "conditions": [
            { "type": "Suspended", "status": "True" },
            { "type": condition.0, "status": condition.1, "lastTransitionTime": ended },
        ] },
    }))
    .unwrap();
    match left(&job, now.parse().unwrap()) {
        Ok(Left::Forever) => "forever".to_owned(),
        Ok(Left::Nothing) => "nothing".to_owned(),
        Ok(Left::Some(time)) => format!("{time:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_left_of_a_jobs_time() {
    const ENDED: &str = "2024-01-01T00:00:00Z";
    let check = |ttl: Value, condition, now, expected: &str| {
        let found = shown(ttl.clone(), condition, json!(ENDED), Value::Null, now);
        assert_eq!(found, expected, "{ttl} {condition:?} {now}");
    };
    let complete = ("Complete", "True");
    check(json!(10), complete, "2024-01-01T00:00:04.5Z", "5.5s");
    check(json!(10), ("Failed", "True"), "2024-01-01T00:00:04Z", "6s");
    check(json!(10), complete, "2024-01-01T00:00:10Z", "nothing");
    check(json!(0), complete, ENDED, "nothing");
    check(json!(10), complete, "2025-01-01T00:00:00Z", "nothing");
    // Ended in the future: clocks differ.
    check(json!(10), complete, "2023-12-31T23:59:50Z", "20s");
    check(Value::Null, complete, "2025-01-01T00:00:00Z", "forever");
    check(json!(10), ("Complete", "False"), "2025-01-01T00:00:00Z", "forever");
    check(json!(10), ("FailureTarget", "True"), "2025-01-01T00:00:00Z", "forever");
    check(json!(i32::MAX), complete, ENDED, &format!("{:?}", Duration::from_secs(i32::MAX as u64)));
    assert_eq!(shown(json!(1), complete, json!(ENDED), json!(ENDED), "2025-01-01T00:00:00Z"), "forever");
    assert_eq!(
        shown(json!(1), complete, Value::Null, Value::Null, ENDED),
        "unable to find the time when the Job a/one finished"
    );
}
