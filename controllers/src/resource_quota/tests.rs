use std::collections::BTreeSet;

use coracle_api::quota::{Evaluator, Scope};
use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::{Value, json};

use super::plan::{Used, plan};

fn check(spec: Value, status: Value, pods: usize, secrets: usize, expected: Value) {
    let quota = json!({"metadata": {"name": "q"}, "spec": spec, "status": status});
    let parsed: ResourceQuota = serde_json::from_value(quota.clone()).unwrap();
    let names: BTreeSet<String> = parsed
        .spec
        .iter()
        .flat_map(|spec| spec.hard.iter().flatten())
        .map(|(name, _)| name.clone())
        .collect();
    let scopes = Scope::of(&quota);
    let mut used = Used::new(&names, &scopes, "2024-01-01T00:00:00Z".parse().unwrap());
    let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}]}});
    used.measure(&Evaluator::Pod, || vec![pod; pods]);
    used.count(&Evaluator::of("", "secrets").unwrap(), || secrets);
    let status = plan(&parsed, used);
    assert_eq!(json!(status), expected, "{quota}");
}

#[test]
fn what_is_used_is_counted() {
    let hard = json!({"pods": "5", "requests.cpu": "1", "secrets": "9", "count/secrets": "9"});
    let used = |pods: &str, cpu: &str, secrets: &str| json!({"hard": hard, "used": {"pods": pods, "requests.cpu": cpu, "secrets": secrets, "count/secrets": secrets}});
    let spec = json!({"hard": hard});
    check(spec.clone(), json!(null), 0, 0, used("0", "0", "0"));
    check(spec.clone(), used("0", "0", "0"), 3, 2, used("3", "300m", "2"));
    check(spec.clone(), used("3", "0.3", "2"), 3, 2, json!(null));
    // Out of its scope.
    let scoped = json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]});
    check(scoped, json!(null), 3, 0, json!({"hard": {"pods": "5"}, "used": {"pods": "0"}}));
    // What nobody knows stays unknown, or as it was.
    let unknown = json!({"hard": {"count/x": "5"}});
    check(unknown.clone(), json!(null), 0, 0, json!({"hard": {"count/x": "5"}, "used": {}}));
    check(unknown, json!({"hard": {"count/x": "5"}, "used": {"count/x": "2"}}), 0, 0, json!(null));
}
