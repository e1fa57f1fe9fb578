//! Who owns which field: field sets, managedFields, and server-side apply.

use coracle_api::{Object, Resource};
use jiff::Timestamp;

/// Who writes, and how.
pub struct Writer<'a> {
    /// The field manager: `fieldManager`, or the user agent up to its first slash.
    pub manager: &'a str,
    /// `status`, `scale` or empty.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
}

/// Updates `metadata.managedFields` of `new` after a create, update or patch
/// (not an apply) by `writer`.
pub fn updated(_resource: &Resource, _old: Option<&Object>, _new: &mut Object, _writer: &Writer<'_>) {}

/// Keeps the times of entries of `old` that differ in nothing else, so that an
/// update that changes nothing writes nothing.
pub fn keep_times(_new: &mut Object, _old: &Object) {}
