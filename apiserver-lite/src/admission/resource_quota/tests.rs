use coracle_api::quota::Evaluator;
use serde_json::{Value, json};

use super::charge::{Charge, Quota, charges};

fn check(quota: Value, plural: &str, old: Option<Value>, new: Value, expected: Result<Value, &str>) {
    let mut object = json!({"metadata": {"name": "q"}});
    object.as_object_mut().unwrap().extend(quota.as_object().unwrap().clone());
    let charge = Charge {
        evaluator: Evaluator::of("", plural).unwrap(),
        new: new.clone(),
        old,
        of_status: false,
        now: "2024-01-01T00:00:00Z".parse().unwrap(),
    };
    let charged = charges(&[Quota::read(&object)], &charge).map(|charged| {
        let shown = charged.into_iter().map(|(_, used)| {
            Value::Object(
                used.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect(),
            )
        });
        shown.collect::<Vec<_>>()
    });
    let expected = expected.map(|it| if it.is_null() { vec![] } else { vec![it] });
    assert_eq!(charged, expected.map_err(str::to_owned), "{new} charged to {object}");
}

#[test]
fn pods_are_charged_and_refused() {
    let pod =
        |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    let quota = |used: Value| json!({"status": {"hard": {"pods": "2", "requests.cpu": "1"}, "used": used}});
    let used = |pods: &str, cpu: &str| json!({"pods": pods, "requests.cpu": cpu});
    check(quota(used("0", "0")), "pods", None, pod("400m"), Ok(used("1", "400m")));
    check(quota(used("1", "400m")), "pods", None, pod("600m"), Ok(used("2", "1")));
    let text =
        "exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1";
    check(quota(used("1", "400m")), "pods", None, pod("700m"), Err(text));
    let text = "exceeded quota: q, requested: pods=1,requests.cpu=2, used: pods=2,requests.cpu=0, limited: pods=2,requests.cpu=1";
    check(quota(used("2", "0")), "pods", None, pod("2"), Err(text));
    let text = "failed quota: q: must specify requests.cpu for: c";
    check(quota(used("0", "0")), "pods", None, json!({"spec": {"containers": [{"name": "c"}]}}), Err(text));
    let text = "status unknown for quota: q, resources: pods,requests.cpu";
    check(quota(json!({})), "pods", None, pod("1"), Err(text));
    // What has ended is not charged, and another kind neither.
    let mut ended = pod("1");
    ended["status"] = json!({"phase": "Failed"});
    check(quota(used("2", "1")), "pods", None, ended, Ok(json!(null)));
    check(quota(used("2", "1")), "secrets", None, json!({}), Ok(json!(null)));
}

#[test]
fn updates_are_charged_for_what_they_add() {
    let service = |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": (1..=ports).map(|port| json!({"port": port})).collect::<Vec<_>>()}});
    let quota = |used: &str| json!({"status": {"hard": {"services.nodeports": "2"}, "used": {"services.nodeports": used}}});
    let to = |used: &str| Ok(json!({"services.nodeports": used}));
    check(quota("0"), "services", Some(service("ClusterIP", 2)), service("NodePort", 2), to("2"));
    check(quota("1"), "services", Some(service("NodePort", 1)), service("NodePort", 2), to("2"));
    check(quota("2"), "services", Some(service("NodePort", 2)), service("ClusterIP", 2), Ok(json!(null)));
    let text = "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2";
    check(quota("2"), "services", Some(service("NodePort", 1)), service("NodePort", 2), Err(text));
}

#[test]
fn scopes_limit_what_is_charged() {
    let quota = json!({"spec": {"scopes": ["Terminating"]}, "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}});
    let pod = |deadline: Value| json!({"spec": {"activeDeadlineSeconds": deadline}});
    check(quota.clone(), "pods", None, pod(json!(null)), Ok(json!(null)));
    check(quota.clone(), "pods", None, pod(json!(5)), Ok(json!({"pods": "1"})));
    // It comes into the scope by an update.
    check(quota.clone(), "pods", Some(pod(json!(null))), pod(json!(5)), Ok(json!({"pods": "1"})));
    check(quota, "pods", Some(pod(json!(6))), pod(json!(5)), Ok(json!(null)));
}
