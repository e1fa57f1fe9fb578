//! The kinds of `resource.k8s.io`.

mod allocation;
pub mod claims;
pub mod deviceclasses;
mod devices;
pub mod devicetaintrules;
mod parts;
mod policies;
mod requests;
pub mod resourceslices;
mod types;
