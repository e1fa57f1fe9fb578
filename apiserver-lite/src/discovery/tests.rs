use http::header::{ACCEPT_RANGES, HeaderMap};
use serde_json::Value;

use super::*;
use crate::resources;

fn discovery() -> Discovery {
    Discovery::new(&resources::builtins(), "192.0.2.1:21443")
}

fn get(discovery: &Discovery, path: &str, accept: &str) -> Response<Bytes> {
    discovery.answer(path, accept, None).expect("a document").expect("an acceptable form")
}

fn document(discovery: &Discovery, path: &str) -> Value {
    serde_json::from_slice(get(discovery, path, JSON).body()).expect("JSON")
}
