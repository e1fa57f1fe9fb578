//! Nothing is created in a namespace that is not there or is going away, and
//! the namespaces that the cluster rests on stay.

use super::{Attributes, Operation};
use crate::{
    codec,
    error::{ApiError, Subject},
    registry::read::internal,
};

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// Admits or refuses.
///
/// # Errors
/// 403 for the deletion of an immortal namespace and for creations in one that
/// terminates, 404 for creations in one that is not there.
pub async fn admit(attributes: &Attributes<'_>) -> Result<(), ApiError> {
    let target = attributes.target;
    let facts = &target.row.facts;
    if attributes.is_core("namespaces") {
        if attributes.operation == Operation::Delete && IMMORTAL.contains(&target.name.as_str()) {
            return Err(ApiError::Forbidden {
                subject: Subject::of(facts, &target.name),
                reason: "this namespace may not be deleted".to_owned(),
            });
        }
        return Ok(());
    }
    if attributes.operation != Operation::Create || target.namespace.is_empty() {
        return Ok(());
    }
    let key = format!("/registry/namespaces/{}", target.namespace);
    let Some(record) = attributes.registry.store.get(&key).await.map_err(internal)? else {
        let subject =
            Subject { group: String::new(), kind: "namespaces".to_owned(), name: target.namespace.clone() };
        return Err(ApiError::NotFound(subject));
    };
    // Terminating namespaces are few: look before decoding.
    if memchr::memmem::find(&record.bytes, b"\"Terminating\"").is_none() {
        return Ok(());
    }
    if codec::json::parse_stored(&record.bytes).get_str(&["status", "phase"]) != "Terminating" {
        return Ok(());
    }
    Err(terminating(attributes))
}

fn terminating(attributes: &Attributes<'_>) -> ApiError {
    let target = attributes.target;
    let reason = format!(
        "unable to create new content in namespace {} because it is being terminated",
        target.namespace
    );
    let error = ApiError::Forbidden { subject: Subject::of(&target.row.facts, &target.name), reason };
    let mut status = error.status();
    if let Some(details) = &mut status.details {
        details.causes = vec![coracle_api::status::Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {} is being terminated", target.namespace),
            field: "metadata.namespace".to_owned(),
        }];
    }
    ApiError::Status(Box::new(status))
}
