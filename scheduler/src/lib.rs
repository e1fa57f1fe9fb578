//! Coracle's scheduler: gives each pod a node.
//!
//! It knows the API only through a [`kube::Client`]. Start at [`run`]; one
//! pod's way is [`cycle::schedule_one`]; the rules are [`plugins`], one file
//! and one line in a list each.
//!
//! Invariant: a cycle works on a snapshot and is pure; only the outcome
//! changes the [`cache`], and only a binding changes the cluster.

mod bind;
pub mod cache;
mod configuration;
pub mod cycle;
mod explain;
pub mod extender;
mod measures;
mod node_info;
pub mod nominations;
pub mod objects;
mod order;
pub mod plugin;
pub mod plugins;
mod pod;
pub mod preemption;
mod profile;
mod queue;
mod report;
pub mod resources;
mod run;
mod shape;

pub use configuration::{Configuration, ConfigurationError};
pub use explain::{Explanation, explain, explain_pod};
pub use objects::Objects;
pub use pod::PodInfo;
pub use run::{Config, run, start};
pub use shape::Shapes;
