//! The kinds of `apiextensions.k8s.io`.

pub mod customresourcedefinitions;
mod structural;
