//! What measuring and comparing Kubernetes API servers takes: a connection that
//! costs little and hides nothing, and a server started and stopped from outside.
//!
//! The load generator `coracle-bench` is built on it, and so are the tests that
//! compare Coracle with the real kube-apiserver: both must see statuses, headers
//! and bodies as they were sent, which a Kubernetes client library would not show.
//!
//! Start at [`connection::Connection`] and [`server::Server`]; the measures are in [`load`].

pub mod connection;
pub mod kubeconfig;
pub mod load;
pub mod process;
pub mod report;
pub mod requests;
pub mod sample;
pub mod server;
pub mod watch;

pub use connection::{Connection, Protocol};
pub use kubeconfig::{Access, Credentials};
pub use server::Server;
