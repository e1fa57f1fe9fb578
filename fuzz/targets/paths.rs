//! Request lines, and the options in them.
#![no_main]

use apiserver_lite::{
    registry::options::{ListOptions, WriteOptions, Writing},
    request::RequestInfo,
};
use http::Method;
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

fuzz_target!(|data: &[u8]| {
    let Ok(target) = std::str::from_utf8(data) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for method in METHODS {
        let info = RequestInfo::parse(&method, path, query);
        assert!(!info.is_resource || !info.verb.is_empty() || method == Method::OPTIONS || method == Method::TRACE);
        let _ = ListOptions::parse(&info.query, info.verb == "watch");
        let _ = WriteOptions::parse(&info.query, Writing::Patch { apply: true });
    }
});
