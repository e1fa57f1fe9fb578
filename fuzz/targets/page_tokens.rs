//! Page tokens: as they come, and as base64 of what comes.
#![no_main]

use apiserver_lite::registry::page::Page;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;

const PREFIX: &str = "/registry/pods/";

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Page::decode(text, PREFIX);
    }
    if let Ok(page) = Page::decode(&URL_SAFE_NO_PAD.encode(data), PREFIX) {
        assert!(page.after.starts_with(PREFIX), "a token must not lead elsewhere: {page:?}");
        assert!(!page.after.split('/').any(|part| part == ".."), "{page:?}");
        let _ = Page::decode(&page.encode(PREFIX), PREFIX);
    }
});
