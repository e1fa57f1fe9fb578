//! From bytes to an [`Object`] in canonical form.

use coracle_api::{GroupVersionKind, Object, schema::Struct};

/// What decoding found.
#[derive(Debug)]
pub struct Decoded {
    /// The object, canonical, without the fields that the schema does not have.
    pub object: Object,
    /// `unknown field "spec.foo"`, `duplicate field "spec.a"`, in upstream's
    /// order: fieldValidation decides what becomes of them.
    pub strict: Vec<String>,
}

/// Why bytes are no object.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is no such object; the text is upstream's.
    #[error("{0}")]
    Malformed(String),
}

/// Decodes one object of `gvk` from JSON.
///
/// # Errors
/// `Malformed` for bad JSON, wrong types, too deep nesting.
pub fn json(_body: &[u8], _gvk: &GroupVersionKind, _schema: &Struct) -> Result<Decoded, DecodeError> {
    Err(DecodeError::Malformed("not built yet".to_owned()))
}

/// As [`json`], for a tree: what a patch made.
///
/// # Errors
/// As [`json`].
pub fn value(
    _value: serde_json::Value,
    _gvk: &GroupVersionKind,
    _schema: &Struct,
) -> Result<Decoded, DecodeError> {
    Err(DecodeError::Malformed("not built yet".to_owned()))
}
