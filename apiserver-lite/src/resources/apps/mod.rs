//! The group `apps`.

pub mod controllerrevisions;
pub mod daemonsets;
pub mod deployments;
pub mod replicasets;
pub mod statefulsets;

#[cfg(test)]
mod tests;
