//! The formats that objects travel and are kept in. Nothing else knows them.

pub mod json;
