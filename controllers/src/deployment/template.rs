//! Pod templates: which are equal, and the hash that tells them apart.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::LabelSelector};
use serde_json::Value;

use crate::short_hash;

/// The label that carries the hash.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// True when both describe the same pods, whatever their hash labels.
pub(super) fn equal(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    canonical(a) == canonical(b)
}

/// A short text that differs between templates, and with `collisions`.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = short_hash::fnv32a(short_hash::BASIS, canonical(template).to_string().as_bytes());
    if let Some(collisions) = collisions {
        hash = short_hash::fnv32a(hash, &collisions.to_le_bytes());
    }
    short_hash::text(hash)
}

fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut value);
    if let Some(meta) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        // An empty map of these is the same as none.
        meta.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        if meta.is_empty()
            && let Some(template) = value.as_object_mut()
        {
            template.remove("metadata");
        }
    }
    value
}

/// Takes out nulls and empty lists, which mean the same as absence.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// `template` with the hash as a label.
pub(super) fn with_hash(template: &PodTemplateSpec, hash: &str) -> PodTemplateSpec {
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.into());
    template
}

/// `template` without the hash label.
pub(super) fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// `selector`, which also asks for the hash.
pub(super) fn select_hash(selector: &LabelSelector, hash: &str) -> LabelSelector {
    let mut selector = selector.clone();
    let labels: &mut BTreeMap<String, String> = selector.match_labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.into());
    selector
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::short_hash::LETTERS;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn equality_ignores_the_hash_and_what_means_nothing() {
        let check = |a: Value, b: Value, expected: bool| {
            let (first, second) = (template(a.clone()), template(b.clone()));
            assert_eq!(equal(&first, &second), expected, "{a} and {b}");
            assert_eq!(hash(&first, None) == hash(&second, None), expected, "hash of {a} and {b}");
        };
        let labels = |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
        check(labels(json!({"a": "b"})), labels(json!({"a": "b", "pod-template-hash": "x"})), true);
        check(labels(json!({"a": "b"})), labels(json!({"a": "c"})), false);
        check(labels(json!({})), json!({"spec": {"containers": []}}), true);
        let volume =
            |kind: Value| json!({"spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": kind}]}});
        check(volume(json!({})), volume(Value::Null), false);
        let arguments = |args: Value| json!({"spec": {"containers": [{"name": "c", "args": args}]}});
        check(arguments(json!([])), arguments(Value::Null), true);
    }

    #[test]
    fn hashes_are_labels_and_collisions_change_them() {
        let template = template(json!({"spec": {"containers": [{"name": "c", "image": "nginx"}]}}));
        let plain = hash(&template, None);
        assert!(plain.bytes().all(|b| LETTERS.contains(&b)) && (1..=10).contains(&plain.len()), "{plain}");
        assert_ne!(plain, hash(&template, Some(1)));
        assert_ne!(hash(&template, Some(1)), hash(&template, Some(2)));
    }
}
