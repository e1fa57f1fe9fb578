//! The fuzz targets' bodies. `run` builds them for libFuzzer; the test
//! `mutations` feeds them without it.

pub mod bodies;
