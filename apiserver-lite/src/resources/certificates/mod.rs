//! The kinds of `certificates.k8s.io`.

pub mod certificatesigningrequests;
pub mod clustertrustbundles;
mod issuance;
pub mod podcertificaterequests;
