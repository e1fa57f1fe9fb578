//! The templates that a controller has had, kept as ControllerRevisions.
//!
//! A revision's data is the patch that brings its template back. Which
//! revisions are equal is decided by what they mean, not by their bytes.

mod data;
mod revisions;

pub(crate) use data::{hash, same, snapshot, template};
pub(crate) use revisions::{Created, Revisions, controlled, sort};

/// The label of pods and revisions that tells the revision.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
