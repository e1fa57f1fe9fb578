//! Pods, and the pod templates inside of workloads.
//!
//! Start at [`strategy::Pods`] for what a write to a pod does, and at
//! [`spec::validate`] for what a `PodSpec` must be.

mod affinity;
pub mod annotations;
pub mod claim;
pub mod columns;
mod containers;
pub mod defaults;
pub mod diff;
pub mod disabled;
mod env;
mod ephemeral;
mod handlers;
mod image;
pub mod internal;
mod level;
mod network;
mod overlaps;
pub mod prepare;
mod projected;
mod resize;
pub mod resources;
pub mod scheduling;
mod security;
pub mod spec;
mod status;
mod strategy;
pub mod template;
mod transitions;
mod update;
mod volumes;
pub mod warnings;

#[cfg(test)]
mod tests;

pub use strategy::Pods;
