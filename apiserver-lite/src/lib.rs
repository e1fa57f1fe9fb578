//! The API server: Kubernetes' wire over a [`coracle_store::Store`].
//!
//! A request goes `server` -> `pipeline::handle` -> `handlers` -> `registry`;
//! read [`pipeline`] first, it is the whole way top-down. Reads answer from
//! encoded bytes, writes go through the one loop in `registry::write`.

pub mod admission;
pub mod apply;
pub mod authn;
pub mod authz;
pub mod body;
pub mod cel;
pub mod codec;
pub mod config;
mod corked;
pub mod custom;
pub mod discovery;
pub mod error;
pub mod handlers;
pub mod health;
pub mod metrics;
pub mod patch;
pub mod pipeline;
pub mod registry;
pub mod request;
pub mod resources;
pub mod schema;
pub mod server;
mod service;
pub mod watch;

use std::sync::Arc;

use registry::Registry;

pub use service::InProcess;

/// A whole API server: what its listeners and in-process clients share.
pub struct ApiServer {
    /// The objects.
    pub registry: Registry,
}

impl ApiServer {
    /// A server over a registry.
    pub fn new(registry: Registry) -> Arc<Self> {
        Arc::new(Self { registry })
    }
}
