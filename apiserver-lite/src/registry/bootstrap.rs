//! The objects that a cluster cannot be without, made at its first start.
