//! Coracle: a whole Kubernetes in one process.
//!
//! [`Cluster`] puts one together from its parts and takes it apart again; the
//! command line in [`cli`] is a thin layer over it. In a test, begin with
//! [`Cluster::builder`].

pub mod builder;
pub mod cli;
pub mod cluster;
pub mod data_dir;
pub mod kubeconfig;
pub mod pki;

pub use builder::Builder;
pub use cluster::{Cluster, Options};
