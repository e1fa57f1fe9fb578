//! Patches: pure functions from a tree and a patch to the patched tree.

pub mod json;
pub mod merge;
pub mod strategic;

/// Why a patch does not apply.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch or its result is too large: 413.
    #[error("{0}")]
    TooLarge(String),
}
