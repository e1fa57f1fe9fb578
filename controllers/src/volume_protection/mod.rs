//! Claims that pods use, volumes that claims use, and the classes of their
//! attributes are not deleted under them.

mod attributes;
mod claims;
mod volumes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use self::{
    attributes::start as start_attributes, claims::start as start_claims, volumes::start as start_volumes,
};

/// What is to be done with an object's finalizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    Add,
    /// The object may go, unless it is in use.
    Remove,
    None,
}

fn protection(meta: &ObjectMeta, finalizer: &str) -> Protection {
    let has = meta.finalizers.iter().flatten().any(|f| f == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (true, true) => Protection::Remove,
        (false, false) => Protection::Add,
        _ => Protection::None,
    }
}

/// `finalizers` with or without `finalizer`.
fn changed(meta: &ObjectMeta, finalizer: &str, with: bool) -> Vec<String> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.retain(|f| f != finalizer);
    if with {
        finalizers.push(finalizer.to_owned());
    }
    finalizers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn finalizers_come_and_go() {
        let check = |meta: Value, expected: Protection| {
            let parsed: ObjectMeta = serde_json::from_value(meta.clone()).unwrap();
            assert_eq!(protection(&parsed, "f"), expected, "{meta}");
        };
        let gone = "2024-01-01T00:00:00Z";
        check(json!({}), Protection::Add);
        check(json!({"finalizers": ["f"]}), Protection::None);
        check(json!({"finalizers": ["f"], "deletionTimestamp": gone}), Protection::Remove);
        check(json!({"finalizers": ["g"], "deletionTimestamp": gone}), Protection::None);
    }
}
