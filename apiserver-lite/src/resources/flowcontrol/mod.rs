//! The kinds of `flowcontrol.apiserver.k8s.io`.

pub mod flowschemas;
pub mod prioritylevelconfigurations;
