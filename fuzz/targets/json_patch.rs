//! A document, a line's end, a JSON patch; the patch as a merge patch too.
#![no_main]

use apiserver_lite::patch::{json, merge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((document, patch)) = coracle_fuzz::pair(data) else { return };
    let Some(document) = coracle_fuzz::tree(document) else { return };
    let _ = json::check(patch);
    let _ = merge::check(patch);
    let _ = json::apply(document.clone(), patch);
    let _ = merge::apply(document, patch);
});
