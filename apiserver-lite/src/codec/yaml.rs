//! YAML bodies, read as JSON, and answers in YAML.
//!
//! Read as upstream reads them, which is YAML 1.1: `yes` is a boolean and
//! `0644` an octal number. Written so that readers of 1.1 and 1.2 agree.

mod read;
mod scalar;
mod write;

use serde_json::Value;

pub use write::write;

/// A document as JSON.
#[derive(Debug, PartialEq)]
pub struct Document {
    /// Its value; of keys that come twice, the last.
    pub value: Value,
    /// The text of upstream's strict error about keys that come twice.
    pub duplicates: Option<String>,
}

/// Reads the first document of a YAML stream as JSON. An empty one is `null`.
///
/// # Errors
/// Upstream's text of what is wrong with it.
pub fn document(body: &[u8]) -> Result<Document, String> {
    read::document(body)
}

/// The value of [`document`].
///
/// # Errors
/// As [`document`].
pub fn read(body: &[u8]) -> Result<Value, String> {
    document(body).map(|document| document.value)
}

#[cfg(test)]
mod tests;
