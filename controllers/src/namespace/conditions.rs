//! How the deletion of a namespace goes, in upstream's words.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{NamespaceCondition, NamespaceStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::content::{Content, Failures};

/// A condition's type, and the reason and message when all is well.
const ROWS: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// The conditions after a look at the content, when they differ.
pub(super) fn update(
    status: &NamespaceStatus,
    content: &Content,
    failures: &Failures,
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let mut conditions = status.conditions.clone().unwrap_or_default();
    for (type_, reason, message) in ROWS {
        let trouble = trouble(type_, content, failures);
        let status = if trouble.is_some() { "True" } else { "False" };
        let (reason, message) = trouble.unwrap_or((reason, message.to_owned()));
        let new = NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|c| c.type_ == type_) {
            None => conditions.push(new),
            Some(old) if old.status == new.status => {
                *old = NamespaceCondition { last_transition_time: old.last_transition_time.take(), ..new };
            }
            Some(old) => *old = new,
        }
    }
    (status.conditions.as_ref() != Some(&conditions)).then_some(conditions)
}

/// The reason and message of a condition that tells of trouble.
fn trouble(type_: &str, content: &Content, failures: &Failures) -> Option<(&'static str, String)> {
    // While pods remain, nothing is said of the rest: it was not looked at.
    let told = !content.pods_first;
    match type_ {
        "NamespaceDeletionDiscoveryFailure" => {
            failures.discovery.as_ref().map(|message| ("DiscoveryFailed", message.clone()))
        }
        "NamespaceDeletionContentFailure" if !failures.content.is_empty() => {
            let mut messages = failures.content.clone();
            messages.sort();
            let count = messages.len();
            let message =
                format!("Failed to delete all resource types, {count} remaining: {}", messages.join(", "));
            Some(("ContentDeletionFailed", message))
        }
        "NamespaceContentRemaining" if told && !content.resources.is_empty() => {
            let rows = content
                .resources
                .iter()
                .map(|(name, count)| format!("{name} has {count} resource instances"));
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", sorted(rows))))
        }
        "NamespaceFinalizersRemaining" if told && !content.finalizers.is_empty() => {
            let rows = content
                .finalizers
                .iter()
                .map(|(name, count)| format!("{name} in {count} resource instances"));
            let message = format!("Some content in the namespace has finalizers remaining: {}", sorted(rows));
            Some(("SomeFinalizersRemain", message))
        }
        _ => None,
    }
}

fn sorted(rows: impl Iterator<Item = String>) -> String {
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: &NamespaceStatus, content: &Content, failures: &Failures) -> Vec<String> {
        let conditions = update(status, content, failures, Timestamp::UNIX_EPOCH).unwrap_or_default();
        conditions
            .into_iter()
            .filter(|c| c.status == "True")
            .map(|c| format!("{}: {}", c.type_, c.message.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn what_remains_is_told() {
        let fresh = NamespaceStatus::default();
        let count = |rows: &[(&str, usize)]| rows.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(told(&fresh, &Content::default(), &Failures::default()), [""; 0]);
        let content = Content {
            resources: count(&[("secrets.", 2), ("things.example.com", 1)]),
            finalizers: count(&[("example.com/keep", 1)]),
            ..Content::default()
        };
        let failures = Failures { discovery: Some("down".into()), content: vec!["b".into(), "a".into()] };
        assert_eq!(
            told(&fresh, &content, &failures),
            [
                "NamespaceDeletionDiscoveryFailure: down",
                "NamespaceDeletionContentFailure: Failed to delete all resource types, 2 remaining: a, b",
                "NamespaceContentRemaining: Some resources are remaining: secrets. has 2 resource instances, things.example.com has 1 resource instances",
                "NamespaceFinalizersRemaining: Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances",
            ]
        );
        let pods = Content { resources: count(&[("pods.", 3)]), pods_first: true, ..Content::default() };
        assert_eq!(told(&fresh, &pods, &Failures::default()), [""; 0]);
    }

    #[test]
    fn nothing_new_is_not_written() {
        let conditions = update(
            &NamespaceStatus::default(),
            &Content::default(),
            &Failures::default(),
            Timestamp::UNIX_EPOCH,
        );
        let status = NamespaceStatus { conditions, ..NamespaceStatus::default() };
        let later = Timestamp::from_second(99).unwrap();
        assert_eq!(update(&status, &Content::default(), &Failures::default(), later), None);
    }
}
