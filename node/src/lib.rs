//! What runs pods.
//!
//! [`simulated`] plays any number of nodes in this process; what a pod goes
//! through there is [`pod_worker::step`], which is pure.

mod conditions;
mod digest;
pub mod pod_worker;
mod program;
pub mod simulated;
mod stage;
