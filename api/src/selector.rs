//! Label and field selectors, parsed once.
//!
//! The grammar and the error texts are those of the API server's query
//! parameters `labelSelector` and `fieldSelector`.

mod field;
mod label;
mod lexer;

pub use field::{FieldRequirement, FieldSelector};
pub use label::{LabelSelector, Operator, Requirement};

/// The longest selector text that is parsed. A request line can hold no more.
pub const MAX_BYTES: usize = 256 * 1024;

/// Why a text is no selector. The text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl SelectorError {
    fn too_long() -> Self {
        Self(format!("the selector is longer than {MAX_BYTES} bytes"))
    }
}
