//! What the cluster itself has to say about a write, after it was decoded and
//! before it is stored. One file a plugin; the order is upstream's.

pub mod namespace_lifecycle;

use coracle_api::Object;

use crate::{
    authn::User,
    error::ApiError,
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
    /// What is written.
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
    /// Whether it is about a built-in resource of the core group.
    pub fn is_core(&self, plural: &str) -> bool {
        let facts = &self.target.row.facts;
        facts.gvk.group.is_empty() && facts.plural == plural
    }
}

/// Lets the mutating plugins change a new or updated object.
///
/// # Errors
/// Whatever a plugin refuses the write with.
pub async fn mutate(
    attributes: &Attributes<'_>,
    _new: &mut Object,
    _old: Option<&Object>,
) -> Result<(), ApiError> {
    namespace_lifecycle::admit(attributes).await
}

/// Lets the validating plugins refuse a write. `new` is not there for a
/// deletion, `old` not for a creation.
///
/// # Errors
/// Whatever a plugin refuses the write with.
pub async fn validate(
    _attributes: &Attributes<'_>,
    _new: Option<&Object>,
    _old: Option<&Object>,
) -> Result<(), ApiError> {
    Ok(())
}
