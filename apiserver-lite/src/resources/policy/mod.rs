//! The kinds of `policy`.

pub mod poddisruptionbudgets;
