//! The kinds of `apiextensions.k8s.io`.

pub mod approval;
pub mod customresourcedefinitions;
mod defaults;
mod parts;
mod schemas;
pub mod structural;
mod tidy;
mod versions;
