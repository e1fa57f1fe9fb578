//! Patches: pure functions from a tree and a patch to the patched tree.
//!
//! One file a format, each with two functions: `apply`, and `check`, which
//! says what `fieldValidation` has to complain about in the patch itself.
//! Handlers call `check` first unless fieldValidation is `Ignore`.

pub mod golang;
pub mod json;
pub mod merge;
pub mod strategic;
mod strict;

/// Why a patch does not apply. Its text is the message of the Status.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: 422 `Invalid`. Upstream keeps the
    /// cause, which this holds, from the client.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable(String),
    /// The patch is too large: 413 `RequestEntityTooLarge`.
    #[error("Request entity too large: {0}")]
    TooLarge(String),
    /// Upstream has no reason for these: 500 without one.
    #[error("{0}")]
    Failed(String),
}

impl PatchError {
    fn not_json() -> Self {
        Self::Malformed("invalid JSON patch".to_owned())
    }
}
