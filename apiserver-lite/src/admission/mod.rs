//! What the cluster itself has to say about a write, after it was decoded and
//! before it is stored. One file a plugin; [`mutate`] and [`validate`] call
//! them in upstream's order.
//!
//! Left out are the plugins that upstream has switched off, or that wait for
//! features which are off; webhooks and policies have their place in the order.

pub mod certificate_approval;
pub mod certificate_signing;
pub mod certificate_subject_restriction;
pub mod cluster_trust_bundle_attest;
mod default_class;
pub mod default_ingress_class;
pub mod default_storage_class;
pub mod default_toleration_seconds;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod persistent_volume_claim_resize;
pub mod pod_resize_validator;
pub mod pod_security;
pub mod pod_topology_labels;
pub mod priority;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
mod signers;
pub mod storage_object_in_use_protection;
pub mod taint_nodes_by_condition;
#[cfg(test)]
mod tests;

use coracle_api::Object;

use crate::{
    authn::User,
    error::{ApiError, Subject},
    metrics::admission::{Plugin, Round},
    registry::{Registry, Target},
    resources::Part,
};

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is created.
    Create,
    /// It is updated.
    Update,
    /// It is deleted.
    Delete,
}

/// A write as plugins see it.
pub struct Attributes<'a> {
    /// For looking other objects up.
    pub registry: &'a Registry,
    /// What is written. A name that is still to be generated is empty.
    pub target: &'a Target,
    /// Which part of it.
    pub part: Part<'a>,
    /// What is done to it.
    pub operation: Operation,
    /// By whom.
    pub user: &'a User,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Attributes<'_> {
    /// Whether it is about a resource of a group.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        let facts = &self.target.row.facts;
        facts.gvk.group == group && facts.plural == plural
    }

    /// Whether it is about a built-in resource of the core group.
    pub fn is_core(&self, plural: &str) -> bool {
        self.is("", plural)
    }

    /// Whether it creates an object.
    pub fn creates(&self) -> bool {
        self.operation == Operation::Create && self.part == Part::Whole
    }

    /// A 403 about `object`, which goes by the name that it has so far.
    pub fn forbid(&self, object: &Object, reason: impl Into<String>) -> ApiError {
        let names = [&self.target.name, object.name(), object.meta_str("generateName")];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
        ApiError::Forbidden { subject: Subject::of(&self.target.row.facts, name), reason: reason.into() }
    }
}

/// Lets the mutating plugins change a new or updated object.
///
/// # Errors
/// Whatever a plugin refuses the write with.
pub async fn mutate(
    attributes: &Attributes<'_>,
    new: &mut Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    let mut lap = attributes.registry.metrics.admission.begin(Round::Admit, attributes.operation);
    lap.after(Plugin::NamespaceLifecycle, namespace_lifecycle::admit(attributes).await)?;
    lap.after(Plugin::LimitRanger, limit_ranger::admit(attributes, new).await)?;
    lap.after(Plugin::ServiceAccount, service_account::admit(attributes, new).await)?;
    taint_nodes_by_condition::admit(attributes, new);
    lap.passed(Plugin::TaintNodesByCondition);
    lap.after(Plugin::Priority, priority::admit(attributes, new, old).await)?;
    default_toleration_seconds::admit(attributes, new);
    lap.passed(Plugin::DefaultTolerationSeconds);
    lap.after(Plugin::DefaultStorageClass, default_storage_class::admit(attributes, new).await)?;
    storage_object_in_use_protection::admit(attributes, new);
    lap.passed(Plugin::StorageObjectInUseProtection);
    lap.after(Plugin::RuntimeClass, runtime_class::admit(attributes, new).await)?;
    lap.after(Plugin::DefaultIngressClass, default_ingress_class::admit(attributes, new).await)?;
    lap.after(Plugin::PodTopologyLabels, pod_topology_labels::admit(attributes, new).await)
}

/// Lets the validating plugins refuse a write. `new` is not there for a
/// deletion, `old` not for a creation. Returns warnings for the client.
///
/// # Errors
/// Whatever a plugin refuses the write with.
pub async fn validate(
    attributes: &Attributes<'_>,
    new: Option<&Object>,
    old: Option<&Object>,
) -> Result<Vec<String>, ApiError> {
    let Some(new) = new else { return Ok(Vec::new()) };
    let mut lap = attributes.registry.metrics.admission.begin(Round::Validate, attributes.operation);
    lap.after(Plugin::LimitRanger, limit_ranger::validate(attributes, new, old).await)?;
    lap.after(Plugin::ServiceAccount, service_account::validate(attributes, new).await)?;
    let warnings = lap.after(Plugin::PodSecurity, pod_security::validate(attributes, new, old).await)?;
    lap.after(Plugin::Priority, priority::validate(attributes, new).await)?;
    let resized = persistent_volume_claim_resize::validate(attributes, new, old).await;
    lap.after(Plugin::PersistentVolumeClaimResize, resized)?;
    lap.after(Plugin::RuntimeClass, runtime_class::validate(attributes, new).await)?;
    lap.after(Plugin::CertificateApproval, certificate_approval::validate(attributes, old))?;
    lap.after(Plugin::CertificateSigning, certificate_signing::validate(attributes, new, old))?;
    let attested = cluster_trust_bundle_attest::validate(attributes, new, old);
    lap.after(Plugin::ClusterTrustBundleAttest, attested)?;
    let restricted = certificate_subject_restriction::validate(attributes, new);
    lap.after(Plugin::CertificateSubjectRestriction, restricted)?;
    lap.after(Plugin::PodResizeValidator, pod_resize_validator::validate(attributes, new, old).await)?;
    // At last: what others refuse is not charged.
    lap.after(Plugin::ResourceQuota, resource_quota::validate(attributes, new, old).await)?;
    Ok(warnings)
}

// Several reasons in one text, as upstream's aggregates print them.
fn joined(reasons: &[String]) -> String {
    let mut texts: Vec<&str> = Vec::with_capacity(reasons.len());
    for reason in reasons {
        if !texts.contains(&reason.as_str()) {
            texts.push(reason);
        }
    }
    match texts.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}
