//! The kinds of `autoscaling`.

mod conversion;
pub mod horizontalpodautoscalers;
mod metrics;
