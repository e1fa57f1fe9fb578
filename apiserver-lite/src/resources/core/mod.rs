//! The core group.

pub mod pods;
