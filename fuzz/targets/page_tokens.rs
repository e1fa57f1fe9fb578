#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle_fuzz::bodies::page_tokens(data));
