//! What a revision holds, and the hash that names it.

use std::fmt::Write as _;

use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec};
use serde_json::{Value, json};

use crate::short_hash;

/// The longest part of an owner's name in that of a revision.
const PREFIX_LONGEST: usize = 223;

/// The patch that brings `template` back.
pub(crate) fn snapshot(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".into(), "replace".into());
    }
    json!({ "spec": { "template": template } })
}

/// The template that `revision` brings back; none when its data is another thing.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// True when `revision` brings back what `data` does.
pub(crate) fn same(revision: &ControllerRevision, data: &Value) -> bool {
    // Data of another writer may say the same in another form.
    revision.data.0 == *data || template(revision).is_some_and(|template| snapshot(&template) == *data)
}

/// Upstream's hash of `data`, other with each number of collisions.
pub(crate) fn hash(data: &Value, collisions: i32) -> String {
    let sum = short_hash::fnv32(short_hash::BASIS, as_go(data).as_bytes());
    short_hash::text(short_hash::fnv32(sum, collisions.to_string().as_bytes()))
}

/// The name of the revision of `owner` with this hash.
pub(crate) fn name(owner: &str, hash: &str) -> String {
    format!("{}-{hash}", owner.get(..PREFIX_LONGEST).unwrap_or(owner))
}

/// `data` as Go writes it: keys sorted, and what HTML knows escaped.
fn as_go(data: &Value) -> String {
    let plain = data.to_string();
    let mut text = String::with_capacity(plain.len());
    for letter in plain.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::runtime::RawExtension;

    use super::*;

    fn of(image: &str) -> PodTemplateSpec {
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": image }] } });
        serde_json::from_value(template).unwrap()
    }

    #[test]
    fn a_template_comes_back() {
        let data = snapshot(&of("x:1"));
        assert_eq!(data.pointer("/spec/template/$patch"), Some(&json!("replace")));
        let revision =
            ControllerRevision { data: RawExtension(data.clone()), ..ControllerRevision::default() };
        assert_eq!(template(&revision), Some(of("x:1")));
        assert!(same(&revision, &data) && !same(&revision, &snapshot(&of("x:2"))));
        let other = json!({ "spec": { "template": 5 } });
        let odd = ControllerRevision { data: RawExtension(other), ..ControllerRevision::default() };
        assert_eq!(template(&odd), None);
    }

    #[test]
    fn hashes_are_upstreams() {
        // From k8s.io/kubernetes/pkg/controller/history.HashControllerRevision.
        assert_eq!(hash(&json!({}), 0), "cccc864bc");
        assert_eq!(hash(&json!({ "b": "<&>", "a": 1 }), 7), "6598b568b9");
        assert_eq!(name("web", "abc"), "web-abc");
        assert_eq!(name(&"x".repeat(300), "abc").len(), PREFIX_LONGEST + 4);
    }
}
