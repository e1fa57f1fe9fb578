//! The kinds of `certificates.k8s.io`.

pub mod certificatesigningrequests;
pub mod clustertrustbundles;
pub mod podcertificaterequests;
