//! The headers that content is negotiated by.
#![no_main]

use apiserver_lite::{
    codec::negotiation::{self, Forms, Offer},
    request::Query,
};
use coracle_api::facts::RESOURCES;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (value, query) = coracle_fuzz::pair(data).unwrap_or((data, b""));
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let query = Query::parse(&String::from_utf8_lossy(query));
    let mut headers = HeaderMap::new();
    for name in [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT] {
        headers.insert(name, value.clone());
    }
    for forms in [Forms::Whole, Forms::Unstored, Forms::Object, Forms::List] {
        for protobuf in [false, true] {
            let _ = negotiation::output(&headers, &query, Offer { forms, protobuf });
        }
    }
    let _ = negotiation::stream(&headers, &query, RESOURCES[0]);
    let _ = negotiation::input(&headers);
});
