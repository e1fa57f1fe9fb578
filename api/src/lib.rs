//! The vocabulary that every part of Coracle shares: objects, schemas, resource
//! rows, selectors, quantities, statuses and field errors.
//!
//! Nothing here does I/O, knows HTTP or holds state. Start at [`resource`] for
//! what a kind is, at [`schema`] for what its objects look like, and at
//! [`facts`] for the tables that upstream publishes.

pub mod facts;
pub mod field;
pub mod format;
pub mod object;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod stamp;
pub mod status;

pub use field::{FieldError, FieldErrorKind, FieldPath};
pub use object::Object;
pub use quantity::Quantity;
pub use resource::{GroupVersionKind, Resource};
pub use selector::{FieldSelector, LabelSelector};
pub use status::Status;
