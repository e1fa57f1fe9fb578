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
pub mod codec;
pub mod config;
pub mod discovery;
pub mod error;
pub mod handlers;
pub mod patch;
pub mod registry;
pub mod request;
pub mod resources;
pub mod schema;
pub mod watch;
