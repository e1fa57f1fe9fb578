//! Owner references and label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

/// The one owner that controls the object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// True when `owner` controls the object that `meta` belongs to.
pub fn controls(owner: &ObjectMeta, meta: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|c| Some(&c.uid) == owner.uid.as_ref())
}

/// The reference that makes `owner` a controller.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// True when `selector` selects these labels. An empty selector selects all;
/// an unknown operator selects nothing.
pub fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let get = |key: &String| labels.and_then(|l| l.get(key));
    matches_labels(selector.match_labels.as_ref(), labels)
        && selector.match_expressions.iter().flatten().all(|rule| {
            let value = get(&rule.key);
            let listed = |v: &String| rule.values.iter().flatten().any(|x| x == v);
            match rule.operator.as_str() {
                "In" => value.is_some_and(listed),
                "NotIn" => !value.is_some_and(listed),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// True when `labels` holds everything in `wanted`.
pub fn matches_labels(
    wanted: Option<&BTreeMap<String, String>>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    wanted.into_iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors() {
        let check = |selector: serde_json::Value, labels: serde_json::Value, expected: bool| {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            let set: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap();
            assert_eq!(matches(&parsed, Some(&set)), expected, "{selector} on {labels}");
        };
        let rule = |op: &str, values: &[&str]| json!({"matchExpressions": [{"key": "a", "operator": op, "values": values}]});
        check(json!({}), json!({"a": "b"}), true);
        check(json!({"matchLabels": {"a": "b"}}), json!({"a": "b", "c": "d"}), true);
        check(json!({"matchLabels": {"a": "b"}}), json!({"a": "c"}), false);
        check(rule("In", &["x", "y"]), json!({"a": "y"}), true);
        check(rule("In", &["x", "y"]), json!({}), false);
        check(rule("NotIn", &["x"]), json!({}), true);
        check(rule("NotIn", &["x"]), json!({"a": "x"}), false);
        check(rule("Exists", &[]), json!({"a": ""}), true);
        check(rule("DoesNotExist", &[]), json!({"a": ""}), false);
        check(rule("Bogus", &[]), json!({"a": ""}), false);
    }
}
