//! Custom resources: what a CRD makes of itself.
//!
//! A CRD is a [`Definition`], and that is one [`Row`](crate::resources::Row) a
//! version which it serves; from then on it is a kind like any other.
//! [`Definitions`] holds them all and follows the store: a request that begins
//! after a definition was written sees what it says. [`conditions`] decides on
//! names and establishes, [`keeper`] writes that down, and takes the instances
//! away with their definition.

pub mod cel;
pub mod columns;
pub mod conditions;
pub mod default;
pub mod definition;
pub mod definitions;
pub mod json_path;
pub mod keeper;
mod prune;
pub mod schema;
pub mod shape;
pub mod strategy;
pub mod validate;

pub use definition::Definition;
pub use definitions::Definitions;
pub use prune::prune;
pub use schema::Schema;
