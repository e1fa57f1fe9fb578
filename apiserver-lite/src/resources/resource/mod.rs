//! The kinds of `resource.k8s.io`. What is across the fields of devices and
//! their requests is checked where devices are allocated.

pub mod claims;
pub mod deviceclasses;
pub mod devicetaintrules;
pub mod resourceslices;
