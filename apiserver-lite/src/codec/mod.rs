//! The formats that objects travel and are kept in. Nothing else knows them.

pub mod frame;
pub mod gzip;
pub mod json;
pub mod kept;
pub mod list;
pub mod negotiation;
pub mod partial;
pub mod protobuf;
pub mod shows;
pub mod table;
pub mod yaml;
