//! Objects against their schema: decoding with upstream's strictness, the
//! canonical form, the defaults that the schema publishes, pruning.
//!
//! Start at [`decode::json`].

pub mod canonical;
pub mod decode;
pub mod go_order;
mod go_type;
mod reader;
mod registered;
mod walk;

pub(crate) use registered::package as go_package;
