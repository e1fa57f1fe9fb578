//! The kinds of `admissionregistration.k8s.io`.

pub mod bindings;
mod expressions;
pub mod policies;
pub mod webhooks;
