//! Who owns which field: field sets, managedFields, and server-side apply.
//!
//! Start at [`updated`], which every write that is not an apply goes through,
//! and at [`applied`] for those that are.
//! Field paths are those of structured-merge-diff (KEP-555).

pub mod applied;
pub mod fieldset;
pub mod managed;
mod merge;
mod prune;
mod reconcile;
pub mod reset;
pub mod scale;
mod typed;
pub mod walk;

use jiff::Timestamp;

pub use applied::{ApplyError, applied};
pub use managed::{keep_times, updated};

/// Who writes, and how.
pub struct Writer<'a> {
    /// The field manager: `fieldManager`, or the user agent up to its first slash.
    pub manager: &'a str,
    /// `status`, `scale` or empty.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
}
