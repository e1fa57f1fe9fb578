//! Coracle's own custom resources: their Rust types, and the YAML generated
//! from them.
//!
//! There are none yet.
